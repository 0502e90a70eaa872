"""What the application can do, as functions over one session.

Services never commit: a request or a job step is one transaction. Rows are locked in one order everywhere, so that two
actors never wait for each other: the member, then tasks, then the project or round. An assignment changes only while
its task is locked.
"""
