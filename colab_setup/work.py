"""The steps of an installation: look, plan, install, verify, and what is said about them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import checks, kernel, machine_file, own_tree, pins, pipcall, plan, state, traps, tune, verify
from .detect import Machine, look
from .errors import SetupError
from .pipcall import Source
from .verify import Verdict
from .versions import Package, live

Say = Callable[[str], None]


@dataclass
class Work:
    """One run of the installer.

    Attributes:
        source: where packages come from.
        components: names out of :data:`.pins.COMPONENTS` and :data:`.pins.PLANNED`.
        say: prints a line.
        agree: asks the user whether to go on.
        pinned: the requirements file.
        torch: install it where it is missing.
        times: (step, seconds), as they end.
        changed: packages that were replaced or removed.
    """

    source: Source
    components: list[str]
    say: Say
    agree: Callable[[], bool]
    pinned: Path = pins.FILE
    torch: bool = True
    record: state.State = field(default_factory=state.State)
    times: list[tuple[str, float]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.times.append((name, time.perf_counter() - begun))

    def look(self) -> Machine:
        """Find out where this is, and say it."""
        with self.step("look"):
            self.record = state.read()
            self.components = list(dict.fromkeys([*self.record.components, *self.components]))
            machine = look(live())
        driver = machine.driver
        card = f"{', '.join(driver.cards)}, driver {driver.version}" if driver.usable else f"no GPU ({driver.why})"
        torch = f"torch {machine.torch} ({f'CUDA {machine.torch_cuda}' if machine.torch_cuda else 'no CUDA'})"
        self.say(
            f"{machine.host}{f' {machine.runtime}' if machine.runtime else ''}, {machine.system}, Python {machine.python}, "
            f"{card}, {torch if machine.torch else 'no torch'}"
        )
        return machine

    def install(self, machine: Machine) -> bool:
        """Install what is missing.

        Returns:
            False where the user does not want it.

        Raises:
            SetupError: something could not be installed, with what to do.
        """
        with self.step("plan"):
            packages, ours = live(), list(self.record.installed)
            todo = plan.make(machine, packages, pins.read(self.pinned), self.components, ours, self.torch)
            root = own_tree.clone()
            tree = own_tree.reason(root, packages, self.record.tree)
            if tree and self._cannot_build(packages):
                self.say(f"- {tree} Offline it stays as it is: building it needs setuptools.")
                tree = None
        for line in (*todo.notes, *_together(todo.reasons), *([tree] if tree else [])):
            self.say(f"- {line}")
        if todo.nothing and not tree:
            self.say("Everything that is wanted is installed.")
            self._settle()
            return True
        if not self.agree():
            return False
        if not todo.nothing:
            self._packages(todo, packages)
        if tree:
            self._framelane(root, packages)
        self._settle()
        return True

    def _cannot_build(self, packages: dict[str, Package]) -> bool:
        """Offline, without a build backend, a framelane that works is better than none."""
        there = packages.get("framelane")
        bare = self.source.offline and not self.source.links and not own_tree.own_backend(packages)
        return bool(bare and there and there.whole)

    def _settle(self) -> None:
        self.record.pending = []
        self.record.components = self.components
        state.write(self.record)

    def _packages(self, todo: plan.Plan, packages: dict[str, Package]) -> None:
        exact: tuple[str, ...] = ()
        with self.step("resolve"):
            if todo.lacking:
                exact = self._resolved(todo, packages)
            self._reachable(todo)
        if todo.mend:
            with self.step("mend"):
                self._pip(list(todo.mend), packages, again=True)
        if exact:
            self.say(f"Installing {len(exact)} packages: {', '.join(exact)}")
            with self.step("install"):
                self._pip(list(exact), packages)
        if todo.remove:
            self._take_away(todo.remove, packages)
        if todo.apart:
            self.say(f"Installing without what they require: {', '.join(todo.apart)}")
            with self.step("install apart"):
                self._pip(list(todo.apart), packages, again=bool(todo.remove))

    def _reachable(self, todo: plan.Plan) -> None:
        """Offline, find out before anything is removed whether the rest is at hand."""
        if self.source.offline and not self.source.links:
            raise SetupError(
                f"Offline, these are missing: {'; '.join(todo.reasons).rstrip('.')}. Run it online, or name a folder of "
                "wheels with --find-links."
            )

    def _resolved(self, todo: plan.Plan, packages: dict[str, Package]) -> tuple[str, ...]:
        self._reachable(todo)
        try:
            report = pipcall.dry_run(list(todo.lacking), plan.constraints(packages, strict=True), self.source)
        except SetupError as error:
            self.say(f"- Not without changing something that is there ({error}); asking again with less held fast.")
            report = pipcall.dry_run(list(todo.lacking), plan.constraints(packages, strict=False), self.source)
        chosen = plan.choose(report, packages, todo.runtime, self.record.installed)
        for line in chosen.left_out:
            self.say(f"- Left out {line}.")
        if chosen.changed:
            self.say(f"- Replaced by another version: {', '.join(chosen.changed)}.")
        self.changed += chosen.changed
        return chosen.install

    def _pip(self, exact: list[str], packages: dict[str, Package], again: bool = False) -> None:
        self.record.begin(exact, packages)
        state.write(self.record)  # before pip starts: a run that is killed leaves a note of what it was at
        pipcall.run(pipcall.install(pipcall.PYTHON, exact, self.source, again), self.source, self.say)
        self.installed += exact

    def _take_away(self, names: tuple[str, ...], packages: dict[str, Package]) -> None:
        self.say(f"Taking away {', '.join(f'{name} {packages[name].version}' for name in names)}")
        self.record.remove(names, packages)
        state.write(self.record)
        with self.step("remove"):
            pipcall.run(pipcall.uninstall(pipcall.PYTHON, names), self.source)
        self.changed += names

    def _framelane(self, root: Path | None, packages: dict[str, Package]) -> None:
        if root is None:
            raise SetupError("framelane itself is broken here; install its wheel again: pip install --no-deps WHEEL")
        self.say("Installing framelane from this clone")
        with self.step("framelane"), own_tree.copied(root) as tree:
            before = packages.get("framelane")
            self.record.begin([f"framelane=={before.version if before else ''}"], packages)
            state.write(self.record)
            own = own_tree.own_backend(live())
            pipcall.run(pipcall.install_tree(pipcall.PYTHON, str(tree), self.source, own), self.source)
            self.record.installed["framelane"]["version"] = live()["framelane"].version
            self.record.tree = own_tree.fingerprint(root)
        self.installed.append("framelane")
        if before:
            self.changed.append("framelane")

    def loader(self, machine: Machine) -> None:
        """Tell the loader where the driver's libraries lie, where it does not know and this may write there."""
        folder = machine.driver.library_dir
        if not folder or machine.host not in ("colab", "kaggle") or not os.access(traps.LOADER_FILE.parent, os.W_OK):
            return
        traps.LOADER_FILE.write_text(f"{folder}\n")
        self.record.wrote(traps.LOADER_FILE)
        state.write(self.record)
        subprocess.run(["ldconfig"], check=False, capture_output=True)
        self.say(f"- {traps.LOADER_FILE} now names {folder}.")

    def verify(self, machine: Machine) -> list[Verdict]:
        """Check every component by doing, mend once what was broken, and check that again."""
        components = self.components if traps.gfpgan(machine.python) is None else _without(self.components)
        names = checks.names(components, self.torch or machine.torch is not None)
        environment = verify.environment(machine.driver.library_dir)
        with self.step("verify"):
            verdicts = verify.verify(names, environment)
        broken = [verdict.component for verdict in verdicts if verdict.status == "fails"]
        if not broken or not self._mended(broken):
            return verdicts
        with self.step("verify again"):
            again = {verdict.component: verdict for verdict in verify.verify(broken, environment)}
        return [again.get(verdict.component, verdict) for verdict in verdicts]

    def _mended(self, broken: list[str]) -> bool:
        """Reinstall what belongs to broken components, as far as the installer brought it."""
        packages = live()
        ours = [name for one in broken for name in checks.CHECKS[one].packages if name in self.record.installed]
        exact = [f"{name}=={packages[name].version}" for name in ours if name in packages and name != "framelane"]
        if not exact or (self.source.offline and not self.source.links):
            return False
        self.say(f"Broken: {', '.join(broken)}. Installing again: {', '.join(exact)}")
        try:
            with self.step("repair"):
                self._pip(exact, packages, again=True)
        except SetupError as error:
            self.say(f"- {error}")
            return False
        self._settle()
        return True

    def profile(self, verdicts: list[Verdict]) -> str:
        """Write the profile that the doctor chose as this machine's own; a sentence about it."""
        told = next((verdict.told for verdict in verdicts if verdict.component == "framelane"), {})
        if not told.get("profile"):
            return "No profile was chosen: framelane's doctor did not answer."
        with self.step("profile"):
            written = machine_file.write_profile(str(told["profile"]), str(told.get("why", "")))
        if written.path:
            self.record.wrote(written.path)
            state.write(self.record)
        return written.sentence

    def tune(self) -> int:
        """Measure for a minute and write what was fastest; the exit code of ``framelane tune``."""
        with self.step("tune"):
            code = tune.main([])
        for name in self.record.files:
            if Path(name).is_file():
                self.record.wrote(Path(name))
        state.write(self.record)
        return code

    def restart(self, machine: Machine) -> str | None:
        """A sentence where the notebook must be restarted."""
        return kernel.restart(self.changed, machine.kernels)


def _together(reasons: tuple[str, ...]) -> list[str]:
    """The sentences, those about missing packages in one."""
    end = " is not installed."
    missing = [reason.removesuffix(end) for reason in reasons if reason.endswith(end)]
    rest = [reason for reason in reasons if not reason.endswith(end)]
    return [*([f"Not installed: {', '.join(missing)}."] if missing else []), *rest]


def _without(components: list[str]) -> list[str]:
    return [name for name in components if name != "gfpgan"]
