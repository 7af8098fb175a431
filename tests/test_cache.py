from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from specgen import cache, lock, templates, writer


class Build:
    """A build of a spec and its base into a folder, in a copy of the generator."""

    sets = ("layers.conv1.stride=2",)
    onnx_devices = False

    def __init__(self, root: Path) -> None:
        self.spec = root / "specs" / "net.yaml"
        self.base = root / "specs" / "base.yaml"
        self.folder = root / "generated" / "net"
        self.module = root / "specgen" / "ops" / "conv.py"
        self.template = root / "templates" / "model.py.j2"
        for path in (self.spec, self.base, self.module, self.template):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("old")

    def run(self) -> None:
        cache._generator.cache_clear()  # as in another process
        sources = {path: path.read_bytes() for path in (self.base, self.spec)}
        files = {"model.py": b"old", "data.py": b"old"}
        root = self.folder.parent
        runtime = {"shared.py": b"old"}
        runtime[lock.NAME] = lock.dump_runtime(runtime)
        files[lock.NAME] = lock.dump(
            self.spec,
            sources,
            self.sets,
            files,
            runtime=lock.digest(lock.NAME, runtime[lock.NAME]),
            onnx_devices=self.onnx_devices,
        )
        writer.write(root, {lock.RUNTIME: runtime, self.folder.name: files})
        cache.remember(self.folder, self.spec, files[lock.NAME])

    def is_current(self) -> bool:
        cache._generator.cache_clear()
        return cache.is_current(
            self.spec, self.sets, self.folder, onnx_devices=self.onnx_devices
        )


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = Build(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "specgen" / "cache.py"))
    monkeypatch.setattr(templates, "folder", lambda: tmp_path / "templates")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "jinja2", raising=False)  # as before a build
    build.run()
    return build


def test_a_second_build_is_current(build: Build) -> None:
    assert build.is_current()
    assert build.is_current()


def rewrite(path: Path) -> None:
    """Change the content but neither size nor time."""
    times = path.stat()
    path.write_text("new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def install(build: Build) -> None:
    package = build.spec.parent.parent / "site" / "jinja2"
    package.mkdir()
    (package / "__init__.py").touch()


def edit_lock(build: Build) -> None:
    path = build.folder / lock.NAME
    path.write_text(path.read_text().replace("specgen 0", "specgen 9"))


def another_runtime(build: Build) -> None:
    """A newer generator has built another network next to it."""
    runtime = {"shared.py": b"new"}
    runtime[lock.NAME] = lock.dump_runtime(runtime)
    writer.write(build.folder.parent, {lock.RUNTIME: runtime})


@pytest.mark.parametrize(
    "change",
    [
        lambda build: rewrite(build.spec),
        lambda build: rewrite(build.base),
        lambda build: rewrite(build.module),
        lambda build: rewrite(build.template),
        lambda build: rewrite(build.folder / "model.py"),
        lambda build: (build.folder / "model.py").unlink(),
        lambda build: build.base.unlink(),
        lambda build: build.module.with_name("new.py").touch(),
        lambda build: build.template.with_name("new.py.j2").touch(),
        lambda build: build.template.unlink(),
        lambda build: (build.folder / lock.NAME).unlink(),
        lambda build: rewrite(build.folder.parent / lock.RUNTIME / "shared.py"),
        lambda build: (build.folder.parent / lock.RUNTIME / "shared.py").unlink(),
        lambda build: shutil.rmtree(build.folder.parent / lock.RUNTIME),
        another_runtime,
        lambda build: (build.folder.parent / lock.STAGE).mkdir(),
        lambda build: build.__setattr__("sets", ()),
        lambda build: build.__setattr__("onnx_devices", True),
        lambda build: build.__setattr__("spec", build.base),
        lambda build: build.__setattr__("spec", build.spec.with_name("other.yaml")),
        lambda build: build.__setattr__("folder", build.folder.with_name("other")),
        edit_lock,
        install,
    ],
)
def test_any_change_is_noticed(build: Build, change: Callable[[Build], object]) -> None:
    shutil.copy(build.spec, build.spec.with_name("other.yaml"))
    shutil.copytree(build.folder, build.folder.with_name("other"))
    assert build.is_current()
    change(build)
    assert not build.is_current()


def test_another_python_is_noticed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version", "4.0")
    assert not build.is_current()


def test_an_upgraded_package_is_noticed(build: Build) -> None:
    install(build)
    build.run()
    assert build.is_current()
    (build.spec.parent.parent / "site" / "jinja2-4.0.dist-info").mkdir()
    assert not build.is_current()


def test_line_endings_are_not_a_change(build: Build) -> None:
    for path in (build.spec, build.folder / "model.py"):
        path.write_bytes(b"a\n")
    build.spec.write_bytes(b"a\n")
    files = {"model.py": b"a\n"}
    sources = {build.spec: b"a\n"}
    content = lock.dump(build.spec, sources, build.sets, files)
    lock_file = build.folder / lock.NAME
    lock_file.write_bytes(content)
    cache.remember(build.folder, build.spec, content)
    assert build.is_current()
    for path in (build.spec, build.folder / "model.py", lock_file):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert build.is_current()


def test_reverting_a_change_makes_it_current_again(build: Build) -> None:
    rewrite(build.spec)
    assert not build.is_current()
    build.spec.write_text("old")
    assert build.is_current()


def test_a_build_that_did_not_read_the_spec_by_its_name_is_not_trusted(
    build: Build,
) -> None:
    content = lock.dump(build.spec, {build.base: b"old"}, build.sets, {})
    (build.folder / lock.NAME).write_bytes(content)
    cache.remember(build.folder, build.spec, content)
    assert not build.is_current()


def test_a_build_with_warnings_is_not_skipped(build: Build) -> None:
    content = (build.folder / lock.NAME).read_bytes()
    cache.remember(build.folder, build.spec, content, warned=True)
    assert not build.is_current()
    assert cache.built_from(build.folder) == build.spec.resolve()
    cache.remember(build.folder, build.spec, content)
    assert build.is_current()


def test_an_option_does_not_carry_over(build: Build) -> None:
    build.onnx_devices = True
    build.run()
    assert build.is_current()
    build.onnx_devices = False
    assert not build.is_current()


def test_a_base_that_became_a_pipe_does_not_block(build: Build) -> None:
    build.base.unlink()
    os.mkfifo(build.base)
    assert not build.is_current()


def test_an_unusable_cache_is_ignored(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build.run()
    assert not build.is_current()


def test_a_relative_cache_folder_is_ignored(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert not build.is_current()
    build.run()
    assert build.is_current()
    assert len(list((tmp_path / "home" / ".cache" / "specgen").iterdir())) == 1


def test_remembers_what_a_folder_was_built_from(build: Build) -> None:
    assert cache.built_from(build.folder) == build.spec.resolve()
    edit_lock(build)
    assert cache.built_from(build.folder) is None
    assert cache.built_from(build.folder.with_name("other")) is None


def test_the_cache_does_not_grow(build: Build, tmp_path: Path) -> None:
    rewrite(build.spec)
    build.run()
    assert build.is_current()
    assert len(list((tmp_path / "cache" / "specgen").iterdir())) == 1


def test_imports_nothing_that_a_build_needs() -> None:
    slow = ("pydantic", "yaml", "jinja2", "onnx", "google", "numpy", "dataclasses")
    code = f"import sys, specgen.cache; print({slow!r} & sys.modules.keys())"
    code = code.replace(f"{slow!r}", f"set({slow!r})")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
