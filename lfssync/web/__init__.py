"""HTTP for everybody who talks to a host: one client, one meaning for each status, one way to try again.

Below the line, under transfers, hosts and credentials, which say what they want and never touch `requests`.
"""
