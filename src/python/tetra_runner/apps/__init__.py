"""Deployed apps: code that was imported and constructed once, and then serves jobs or HTTP requests.

app.py               the app of this process, and what it serves
starting.py          why an app cannot start
importing.py         imports of the app's modules
jobs.py              the input and the value of a job
flash.py             functions, classes and handler files of Flash
sdk.py               functions and APIs of SDK 2.0
routes.py            the routes of an API class of SDK 2.0
http.py              the HTTP server
"""
