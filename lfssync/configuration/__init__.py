"""What the user wants: reading, checking and editing the configuration file.

It stands above the rules; the line and the service read it, and never write it but through `configedit`.
"""
