# fixture: {"function": "export"}
import os


def export():
    print("writing the model")
    os._exit(3)
