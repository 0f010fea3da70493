"""Model cards: a README.md drafted from what a directory holds, and checked by the Hub's rules.

Beside the line: the command `card` and, through `service`, a pass ask for drafts; nothing of the line imports this.
The one thing to know: whatever is read comes from whoever writes into the directory. It is bounded, never executed or
unpickled, and nothing of it reaches the card but numbers, names of a known shape and escaped words.
"""
