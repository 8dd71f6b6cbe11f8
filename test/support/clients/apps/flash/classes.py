"""Queue classes of a Flash app."""

from runpod_flash import Endpoint

CPU = "cpu3c-1-2"


@Endpoint(name="tally", cpu=CPU)
class Tally:
    """A class with one method."""

    def __init__(self):
        print("constructing Tally")
        self.sum = 0

    def add(self, number=1):
        self.sum += number
        return self.sum


@Endpoint(name="shelf", cpu=CPU)
class Shelf:
    """A class with several methods, one of them asynchronous."""

    def __init__(self):
        self.items = {}

    def put(self, key, value):
        self.items[key] = value
        return sorted(self.items)

    async def get(self, key):
        return self.items[key]


@Endpoint(name="unbuildable", cpu=CPU)
class Unbuildable:
    """A class whose constructor fails."""

    def __init__(self):
        raise RuntimeError("no model here")

    def answer(self):
        return 42
