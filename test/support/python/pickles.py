"""Prints pickles as lines of JSON: `pickles.py hostile MARKER`, or `pickles.py honest`.

Loading a hostile pickle creates a file or folder MARKER, never returns, or uses all memory. An honest pickle comes with
the repr of its value.
"""

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import marshal
import pathlib
import pickle
import struct
import sys
import uuid

import cloudpickle


class Call:
    """Pickled as a call of a function, which is named as `module:name`."""

    def __init__(self, name, *args, state=None, items=None):
        self.name, self.args, self.state, self.items = name, args, state, items


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def dump(value):
    """The opcodes for a value, which may contain calls, without the STOP at the end."""
    if isinstance(value, Call):
        module, _, name = value.name.partition(":")
        code = text(module) + text(name) + b"\x93" + dump(value.args) + b"R"
        if value.items is not None:
            code += b"(" + b"".join(map(dump, value.items)) + b"e"
        return code + (b"" if value.state is None else dump(value.state) + b"b")
    if isinstance(value, Name):
        return text(value.module) + text(value.name) + b"\x93"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(dump, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(dump, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(dump(key) + dump(item) for key, item in value.items()) + b"u"
    return pickle.dumps(value, 4)[2:-1] if not isinstance(value, str) else text(value)


class Name:
    """Pickled as a global, which is named as `module:name`."""

    def __init__(self, name):
        self.module, _, self.name = name.partition(":")


def hostile(marker):
    touch = f"touch {marker}"
    mark = f"open({marker!r}, 'w').close()"
    code = compile(mark, "x", "exec")
    nested = b"\x80\x04" + dump(Call("os:mkdir", marker)) + b"."
    calls = {
        "os.system": Call("os:system", touch),
        "posix.system": Call("posix:system", touch),
        "os.mkdir": Call("os:mkdir", marker),
        "os.popen": Call("os:popen", touch),
        "os.open": Call("os:open", marker, 65),
        "subprocess.Popen": Call("subprocess:Popen", ["touch", marker]),
        "subprocess.check_output": Call("subprocess:check_output", ["touch", marker]),
        "eval": Call("builtins:eval", f"__import__('os').mkdir({marker!r})"),
        "exec": Call("builtins:exec", mark),
        "open": Call("builtins:open", marker, "w"),
        "open of Python 2": Call("__builtin__:open", marker, "w"),
        "a dotted name": Call("builtins:open.__call__", marker, "w"),
        "getattr": Call(
            "builtins:getattr", Call("builtins:__import__", "os"), "getcwd", state={"x": Call("os:mkdir", marker)}
        ),
        "map in a list": Call("builtins:list", Call("builtins:map", Name("os:mkdir"), [marker])),
        "functools.partial": Call(
            "builtins:list", Call("builtins:map", Call("functools:partial", Name("os:mkdir")), [marker])
        ),
        "functools.reduce": Call("functools:reduce", Name("os:mkdir"), [marker, 511]),
        "operator.call": Call("operator:methodcaller", "mkdir", state=Call("os:mkdir", marker)),
        "pickle.loads": Call("pickle:loads", nested),
        "_pickle.loads": Call("_pickle:loads", nested),
        "cloudpickle.loads": Call("cloudpickle:loads", nested),
        "types.FunctionType": Call(
            "builtins:list",
            Call("builtins:map", Call("types:FunctionType", Call("marshal:loads", marshal.dumps(code)), {}), []),
        ),
        "exec of marshal": Call("builtins:exec", Call("marshal:loads", marshal.dumps(code))),
        "runpy": Call("runpy:run_path", "/dev/stdin", state=Call("os:mkdir", marker)),
        "timeit": Call("timeit:timeit", mark),
        "importlib": Call("importlib:import_module", "antigravity"),
        "pathlib": Call("pathlib:Path.touch", Call("pathlib:PosixPath", marker)),
        "shutil": Call("shutil:copyfile", "/etc/hostname", marker),
        "sqlite3": Call("sqlite3:connect", marker),
        "logging": Call("logging:FileHandler", marker),
        "copyreg.__newobj__": Call("copyreg:__newobj__", Name("subprocess:Popen"), ["touch", marker]),
        "copyreg._reconstructor": Call(
            "copyreg:_reconstructor",
            Name("logging:FileHandler"),
            Name("builtins:object"),
            None,
            state=Call("os:mkdir", marker),
        ),
        "a state": Call("collections:OrderedDict", state={"__class__": Call("os:mkdir", marker)}),
        "numpy._reconstruct": Call("numpy.core.multiarray:_reconstruct", Call("os:mkdir", marker), (0,), b"b"),
        "torch's storage": Call("torch.storage:_load_from_bytes", nested),
        "datetime with a call": Call("datetime:datetime", Call("os:mkdir", marker)),
        "an array of 8 EB": Call(
            "numpy._core.numeric:_frombuffer", b"", Call("numpy:dtype", "f8", False, True), (1 << 60,), "C"
        ),
        "an array without end": Call(
            "numpy._core.numeric:_frombuffer", b"", Call("numpy:dtype", "f8", False, True), (1 << 40, 1 << 40, 0), "C"
        ),
        "an array of 1,000 dimensions": Call(
            "numpy._core.numeric:_frombuffer", b"", Call("numpy:dtype", "f8", False, True), (1,) * 1000, "C"
        ),
        "time.sleep": Call("time:sleep", 1000000),
        "bytes of 1 TB": Call("builtins:bytes", 10**12),
        "bytearray of 1 TB": Call("builtins:bytearray", 10**12),
        "a string of 1 TB": Call("operator:mul", "x", 10**12),
        "a power": Call("builtins:pow", 10, 10**10),
        "a list without end": Call("builtins:list", Call("itertools:count")),
        "a sum": Call("builtins:sum", Call("builtins:range", 10**15)),
        "a regular expression": Call("re:match", "(a+)+$", "a" * 60 + "b"),
    }
    made = {name: b"\x80\x04" + dump(call) + b"." for name, call in calls.items()}
    line = marker.encode()
    raw = {
        "protocol 0": b"cos\nmkdir\n(V" + line + b"\ntR.",
        "INST": b"(V" + line + b"\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\nV" + line + b"\no.",
        "NEWOBJ": b"\x80\x04clogging\nFileHandler\n(V" + line + b"\nt\x81.",
        "NEWOBJ_EX": b"\x80\x04clogging\nFileHandler\n)}V" + b"filename\nV" + line + b"\ns\x92.",
        "a call beside the value": b"cos\nmkdir\n(V" + line + b"\ntR0K*.",
        "a key": b"}cos\nmkdir\n(V" + line + b"\ntRK\x01s.",
        "a persistent id": b"Pos.mkdir\n.",
        "an extension": b"\x80\x04\x82\x01.",
        "a doubling of lists": b"]q\x00"
        + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(200))
        + b".",
        "a doubling of tuples": b"K\x01" + b"2\x86" * 100000 + b".",
        "deep lists": b"]" * 300000 + b"a" * 299999 + b".",
        "deep tuples": b")" + b"\x85" * 300000 + b".",
        "deep marks": b"(" * 1000000 + b".",
        "a long integer": b"\x8b" + struct.pack("<i", 4000000) + b"\x7f" * 4000000 + b".",
        "a long decimal": b"L" + b"9" * 2000000 + b"L\n.",
        "a size of 8 EB": b"\x8d" + b"\xff" * 8 + b".",
        "a negative size": b"T\xff\xff\xff\xff.",
        "a memo far away": b"K\x01r\xff\xff\xff\xff.",
        "a million memos": b"K\x01" + b"\x94" * 1000000 + b".",
        "more opcodes than are read": b"N0" * 3000000 + b"N.",
        "a set of itself": b"\x80\x04\x8f\x94(h\x00\x90.",
        "an instance of itself": b"\x80\x04cx\ny\n)\x81\x94}X\x01\x00\x00\x00ah\x00sb.",
        "prototypes": b"}(X\x09\x00\x00\x00__proto__}X\x0b\x00\x00\x00constructorNu.",
        "nothing": b"",
        "only a stop": b".",
        "noise": bytes(range(256)) * 8,
        "control characters": b"\x80\x04"
        + dump({"\x1b]0;title\x07": "\u202e\x9b31m\r\n", "a": Name("x\x1b[2J:y\ny")})
        + b".",
    }
    made.update(raw)
    return [{"name": name, "pickle": base64.b64encode(data).decode()} for name, data in made.items()]


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, "two"


class MyError(Exception):
    pass


class MyList(list):
    pass


def honest():
    me = [1]
    me.append(me)
    mapping = {}
    mapping["me"] = mapping
    utc = datetime.timezone.utc
    as_python = [
        None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**53, -(2**53) - 1, 2**100, -(2**100),
        0.0, 1.0, -0.0, 0.1, 1e15, 1e16, 123456789012345680.0, 1e-4, 1e-5, 1.5e-7, 1e300, 5e-324, float("inf"),
        float("-inf"), float("nan"), "", "a", "it's", '"', "it's \"both\"", "é", "日本", "\n\t\r\\", "\x1b[31m",
        "\u202e", "\u2028", "\xa0", "😀", "\x7f\x9b", b"", b"abc", b"it's", b"\x00\xff\n", bytearray(b"ab"), [], [1],
        [1, [2]], (), (1,), (1, 2), (1, 2, 3, 4), {}, {"a": 1}, {1: {2: (3,)}}, set(), {1}, frozenset(),
        frozenset({1}), me, mapping, 1j, 1 + 2j, -1 - 2.5j, range(3), range(1, 10, 2), slice(1, 2), Ellipsis,
        NotImplemented, ValueError,
        datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
        datetime.datetime(2024, 1, 2, 3, 4, tzinfo=utc), datetime.date(2024, 12, 31), datetime.time(1, 2, 3),
        datetime.timedelta(0), datetime.timedelta(1, 2, 3), utc, datetime.timezone(datetime.timedelta(hours=1)),
        decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=5), pathlib.Path("/a/b"), pathlib.Path("a/b"),
        collections.Counter("aab"), collections.deque([1, 2]), collections.deque([1], 3), Point(1, Point("x")),
        MyError("no", 3), ValueError("boom"), KeyError("k"),
    ]  # fmt: skip
    # Python 3.11.0 to 3.11.3 pickle members of an enum by their names.
    is_by_value = Colour.RED.__reduce_ex__(4)[0] is Colour
    ours = [
        (Slots(), "Slots(a=1, b='two')"),
        (MyList([1, 2]), "MyList([1, 2])"),
        (Colour.RED, "Colour(1)" if is_by_value else "getattr(<class Colour>, 'RED')"),
        (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (collections.defaultdict(list, a=[1]), "defaultdict(<class 'list'>, {'a': [1]})"),
        (Point, "<class Point>"),
        (honest, "<function honest>"),
    ]
    cases = []
    for value in as_python:
        for protocol in (0, 2, 4, 5):
            try:
                cases.append({"pickle": cloudpickle.dumps(value, protocol), "repr": repr(value)})
            except TypeError:
                pass  # old protocols do not support every type
    cases += [{"pickle": cloudpickle.dumps(value), "repr": shown} for value, shown in ours]
    return [{**case, "pickle": base64.b64encode(case["pickle"]).decode()} for case in cases]


for one in hostile(sys.argv[2]) if sys.argv[1] == "hostile" else honest():
    print(json.dumps(one))
