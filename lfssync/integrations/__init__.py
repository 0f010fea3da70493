"""What training libraries call while they train: one callback for each, around one `session`.

The one thing to know: nothing of this is needed where a daemon mirrors the folder that a training saves into. The
callbacks add three things: step and metrics for commit messages, a mirror of their own where no daemon runs, and a
training that ends only once everything has arrived, or time is up.
"""
