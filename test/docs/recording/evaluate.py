# fixture: {"function": "evaluate", "args": [[0.5, "n/a"]]}
def evaluate(scores):
    print("evaluating", scores)
    return sum(scores) / len(scores)
