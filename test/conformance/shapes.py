"""A local module, in the folder of the script that imports it."""


def area(width, height):
    return width * height
