"""What the daemon tells those who do not ask for status: metrics for monitoring, notifications for people.

The one thing to know: nothing in here may hold up a pass or the end of the daemon, however slow whoever is told.
"""
