"""What people type and see: arguments, commands, texts, exit codes.

It stands on top of everything; nothing but the demonstration and the public names imports it.
"""
