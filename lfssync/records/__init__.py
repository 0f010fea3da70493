"""What is recorded on this machine: the store of observations, what each mirror tells, and the locks.

They hold what was seen, never work to be done: all of it can be lost at the cost of a second look.
"""
