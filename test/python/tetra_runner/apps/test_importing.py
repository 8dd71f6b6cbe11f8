import sys

import pytest

from tetra_runner.apps.importing import attribute, import_file, import_module
from tetra_runner.errors import describe


def test_a_submodule_is_returned_itself():
    assert import_module("os.path") is sys.modules["os.path"]


def test_the_traceback_of_an_import_has_only_frames_of_the_app(write):
    write(main="import inner\n", inner="1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        import_module("main")
    error = caught.value.with_traceback(caught.tb.tb_next)  # without the frame of this test
    lines = [line for line in describe(error)["traceback"].splitlines() if "File" in line]
    assert [line.split('"')[1].rpartition("/")[2] for line in lines] == ["main.py", "inner.py"]


def test_a_file_can_have_a_name_that_no_module_can_have(folder, write):
    write(**{"handler_my.app-1": "import sys\nhere = __file__, __name__ in sys.modules\n"})
    module = import_file(str(folder), "handler_my.app-1.py")
    assert module.here == (str(folder / "handler_my.app-1.py"), True)


def test_a_file_outside_of_the_app_folder_is_refused(folder):
    (folder / "link.py").symlink_to("/etc/hostname")
    for file in ("../x.py", "link.py"):
        with pytest.raises(ImportError, match="outside of the app folder"):
            import_file(str(folder), file)


def test_a_missing_file_is_an_import_error(folder):
    with pytest.raises(ImportError, match=r"cannot be read.*handler_x\.py"):
        import_file(str(folder), "handler_x.py")


def test_a_missing_attribute_is_an_import_error():
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'json'"):
        attribute(import_module("json"), "nothing")
