"""How fast lfssync is, side by side with what people would use instead and with the limit of the machine.

`make bench` runs it. It asserts nothing about time: it prints a table, and writes `build/bench.json`. The one thing to
know: in every round all contestants of a row run in turn, on files of their own with equal sizes and new content,
against the same server, so whatever else the machine does meets all of them.
"""
