"""Jobs of an asynchronous app that overlap in one process.

loop.py              the event loop that runs them
attribution.py       the output of each of them
shared_channel.py    the control socket, on which their threads send
"""
