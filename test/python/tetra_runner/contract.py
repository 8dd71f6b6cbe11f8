"""Compares messages with the types of messages.py at run time."""

import typing


def _is_typed_dict(hint):
    return isinstance(hint, type) and hasattr(hint, "__required_keys__")


def problems(value, hint, place):
    """Descriptions of the parts of a value that do not have the expected type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is object:
        return
    if origin is typing.Union:
        options = [list(problems(value, argument, place)) for argument in arguments]
        if all(options):
            yield from options[0]
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{place} is {value!r}"
    elif type(value) is not (dict if _is_typed_dict(hint) else origin or hint):
        yield f"{place} is of type {type(value).__name__}"
    elif _is_typed_dict(hint):
        hints = typing.get_type_hints(hint)
        yield from (f"{place}.{key} is unknown" for key in value if key not in hints)
        yield from (f"{place}.{key} is missing" for key in hint.__required_keys__ if key not in value)
        for key in value:
            if key in hints:
                yield from problems(value[key], hints[key], f"{place}.{key}")
    elif origin is list:
        for index, item in enumerate(value):
            yield from problems(item, arguments[0], f"{place}[{index}]")
    elif origin is dict:
        for key, item in value.items():
            yield from problems(key, arguments[0], f"{place} key")
            yield from problems(item, arguments[1], f"{place}[{key!r}]")


def _nested(hint):
    """The typed dictionaries in a type."""
    return [option for option in (hint, *typing.get_args(hint)) if _is_typed_dict(option)]


def all_fields(hint):
    """The fields of a type and of its nested types."""
    for kind in _nested(hint):
        for key, inner in typing.get_type_hints(kind).items():
            yield key
            yield from (f"{key}.{name}" for name in all_fields(inner))


def used_fields(hint, values):
    """The fields that occur in values of a type."""
    hints = {key: inner for kind in _nested(hint) for key, inner in typing.get_type_hints(kind).items()}
    for value in values:
        for key, inner in value.items():
            yield key
            if inner is not None and key in hints and _nested(hints[key]):
                yield from (
                    f"{key}.{name}" for name in used_fields(hints[key], inner if type(inner) is list else [inner])
                )
