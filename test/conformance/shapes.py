"""A module of a user, beside the script that imports it."""


def area(width, height):
    return width * height
