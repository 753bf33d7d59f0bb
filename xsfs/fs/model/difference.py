# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Turns watch events into notices of what happened in a tree of files. Pure: no loop, no clock.

A watch event names a path but not what happened there; that follows from comparing the node's
fresh state with what was announced of it. So: `note` each event as it is read; ask the store
the `questions`; pass the replies to `answers`, and carry out the notices that it yields.

Between questions and answers only paths are kept, as the node table may change in between. If it
did, the path is put back and asked about again in the next turn. A removal can have very many
notices. The caller may let others run between them; what is left of the turn is then asked again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from xsfs.fs.model.comparison import Comparison
from xsfs.fs.model.echoes import Echoes
from xsfs.fs.model.marks import Mark
from xsfs.fs.model.notices import Doubt, Kind, Notice, Removal
from xsfs.fs.model.routes import Route
from xsfs.fs.model.states import State
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.table import NodeTable

# How many paths are compared in one turn.
_TURN = 64

# How many paths may wait to be compared; beyond that they are dropped, and everything is compared.
_MARKS_MAX = 65536


class Difference:
    """The one place where watch events become notices.

    Attributes:
        echoes: our own changes, which are not announced again.
        is_urgent: a path waits whose event is probably not the echo of our own change.
        is_all_suspect: everything must be compared.
    """

    def __init__(self, table: NodeTable) -> None:
        self.echoes = Echoes()
        self.counts: Counter[str] = Counter(events=0, notices=0, echoes=0)
        self.is_urgent = self.is_all_suspect = False
        self._table = table
        self._view = table.view
        # By path: what waits to be compared; what is compared in this turn. Then the paths asked
        # about for this turn, and the view's clock at that moment.
        self._marks: dict[bytes, Mark] = {}
        self._turn: dict[bytes, Mark] = {}
        self._asked: dict[bytes, None] = {}
        self._clock = 0
        # The comparison of this turn.
        self._comparison = Comparison(table, self.echoes, 0, 0.0)
        # The paths removed with all below, with the view's clock at that moment, while events from
        # before may still be in `_marks`.
        self._gone: dict[bytes, int] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether there are questions."""
        return bool(self._marks) or self.is_all_suspect

    # -- what may have changed ----------------------------------------------------------------

    def note(self, path: bytes, answered: int, now_ns: int) -> Node | None:
        """Take a watch event.

        Args:
            answered: the ordinal of the request that was answered last.
            now_ns: the time, in ns since the epoch.

        Returns the announced node that another client changed, if it is one.
        """
        self.counts["events"] += 1
        echoes = self.echoes.outstanding(path, answered)
        found = self._view.record_event(path, 0 if echoes else now_ns)
        if found is None:
            return None
        mark = self._marks.get(path)
        if mark is not None and mark.hit and mark.foreign and not echoes:
            # It waits to be compared already: the short way for floods of events.
            mark.clock = self._view.clock
            return None if found[1] else found[0]
        route = Route(self._view, path)
        node, rest = route.node, route.rest
        if not (rest or node.watchable or node.children):
            # What the next lookup finds counts as announced.
            node.announced = node.names = None
            return None
        if rest and node.directory and not node.looked_up:
            # What a later watcher finds there counts as announced.
            node.names = None
        if not route.concerns_anybody():
            return None
        if len(rest) > 1 and not echoes:
            # The new node at the top is compared once for all events below it.
            self._mark(paths.join(node.path, rest[0])).add_subtree(self._view.clock)
            self.is_urgent = True
            return None
        self._mark(path).add(echoes, self._view.clock, now_ns)
        if echoes:
            return None
        self.is_urgent = True
        return None if rest else node

    def suspect(self, node: Node) -> None:
        """A node was found to be gone, or other than announced, with no event yet."""
        if node.view is self._view and node.announced is not None:
            self._mark(node.path)
            self.is_urgent = True

    def invalidate_all(self) -> None:
        """Events may have been lost: compare everything, and fetch all facts anew."""
        self._view.invalidate_all()
        self.is_all_suspect = self.is_urgent = True

    def reconnected(self) -> None:
        """The connection was lost: everything may have changed, and no echo will come."""
        self.echoes.clear()
        self.invalidate_all()

    def suspect_all(self) -> Iterator[None]:
        """Have everything compared if `is_all_suspect`; others may run between two steps."""
        if self.is_all_suspect:
            self.is_all_suspect = False
            for node in self._table.watchable():
                self._marks.setdefault(node.path, Mark())
                yield

    # -- a turn: questions, answers -----------------------------------------------------------

    def questions(self) -> list[bytes]:
        """The paths to ask about for the events that waited longest; call `answers` with these."""
        self._turn = dict(itertools.islice(self._marks.items(), _TURN))
        for path in self._turn:
            del self._marks[path]
        self.is_urgent = bool(self._marks)
        self._clock = self._view.tick()
        if len(self._gone) > _MARKS_MAX:
            self._gone.clear()
        routes = (Route(self._view, path) for path in self._turn)
        self._asked = dict.fromkeys(path for route in routes for path in route.questions())
        return list(self._asked)

    def unanswered(self) -> None:
        """The store did not answer: compare everything when it does.

        Known facts stay valid, as a store that is down changes nothing.
        """
        self._put_back(self._turn)
        self._turn = {}
        self.is_all_suspect = self.is_urgent = True

    def outdated(self) -> None:
        """Others ran between the notices of a removal, so the replies may be out of date."""
        self._comparison.is_outdated = True

    def answers(
        self, states: Mapping[bytes, State | None], now_s: float
    ) -> Iterator[Notice | Doubt | Removal]:
        """The notices that are due; iterate to the end, and carry each out as it comes.

        Those of a removal must be carried out before the next step. Others may run between them:
        call `outdated` then. What a doubt asks for must be done before the next questions.

        Args:
            states: by path, None where there is no node; paths that may not be read are missing.
            now_s: the time, in seconds.
        """
        turn, self._turn = self._turn, {}
        comparison = self._comparison = Comparison(self._table, self.echoes, self._clock, now_s)
        refused = self._asked.keys() - states.keys()
        # The reply to our own change says what becomes of these: until then nothing is known.
        leaving = {
            path
            for path, state in states.items()
            if state is None and self.echoes.is_removing(path)
        }
        is_in_doubt = False
        for path, mark in list(turn.items()):
            if comparison.is_outdated:
                break
            if is_in_doubt:
                # What came later is told later.
                yield from self._doubts(path, states, comparison)
                continue
            del turn[path]
            if refused and not refused.isdisjoint(Route(self._view, path).questions()):
                continue
            if leaving and not leaving.isdisjoint(Route(self._view, path).questions()):
                self._again(path, mark)
                continue
            # The state may result from a change of our own that followed the event.
            mark.echoes += self.echoes.under_way(path)
            for step in self._look(path, mark, states, comparison):
                match step:
                    case Notice():
                        self.counts["notices"] += 1
                        yield step
                    case Removal():
                        self._gone[step.node.path] = self._view.clock
                        yield step._replace(notices=self._counted(step.notices))
                    case Doubt():
                        yield step
                        is_in_doubt = True
                        doubtful = step.node.path
                        if path == doubtful or paths.is_below(path, doubtful):
                            turn = {path: mark} | turn
                            break
                        turn = {doubtful: Mark()} | turn
        self._put_back(turn)
        if not self._marks:
            self._gone.clear()

    def _doubts(
        self, path: bytes, states: Mapping[bytes, State | None], comparison: Comparison
    ) -> Iterator[Doubt]:
        """What is in doubt on the way to a path whose turn is yet to come."""
        for node in Route(self._view, path).nodes:
            at = node.path
            if at in states and states[at] is None and comparison.is_in_doubt(node):
                yield comparison.doubt(node)

    def _counted(self, notices: Iterator[Notice]) -> Iterator[Notice]:
        for notice in notices:
            self.counts["notices"] += 1
            yield notice

    def _look(
        self,
        path: bytes,
        mark: Mark,
        states: Mapping[bytes, State | None],
        comparison: Comparison,
    ) -> Iterator[Notice | Doubt | Removal]:
        for node in list(Route(self._view, path).dubious()):
            if node.alive:
                if comparison.is_outdated or node.path not in states:
                    self._again(path, mark)
                    return
                yield from self._compare(node, states[node.path], Mark(), comparison)
        route = Route(self._view, path)
        node, rest = route.node, route.rest
        if not rest or not node.is_announced_directory:
            if comparison.is_outdated or node.path not in states:
                self._again(path, mark)
                return
            here_mark = Mark() if rest else mark
            yield from self._compare(node, states[node.path], here_mark, comparison)
        if rest and node.alive:
            yield from self._walk(node, rest, path, mark, states, comparison)

    def _compare(
        self, node: Node, state: State | None, mark: Mark, comparison: Comparison
    ) -> Iterator[Notice | Doubt | Removal]:
        if node.parent is None and state is None:
            # The node mounted as root does not exist: shown as an empty directory.
            state = State(b"", [])
        if mark.is_echo(state):
            self.counts["echoes"] += 1
        for step in comparison.compare(node, state, mark):
            is_value = isinstance(step, Notice) and step.kind is Kind.MODIFIED
            if is_value and step.node is node and mark.is_maybe_ours:
                # So `note` left the time as it was.
                node.set_mtime(mark.time_ns)
            yield step
        if state is not None and node.names is not None and node.looked_up:
            # Children that came without an event, or whose event is yet to be handled.
            for name in set(state.names).difference(node.names):
                self._marks.setdefault(paths.join(node.path, name), Mark())

    def _walk(
        self,
        node: Node,
        rest: list[bytes],
        path: bytes,
        mark: Mark,
        states: Mapping[bytes, State | None],
        comparison: Comparison,
    ) -> Iterator[Notice | Doubt | Removal]:
        """Compare the nodes from `node` down to `path`, which were not announced."""
        for index, name in enumerate(rest):
            last = index == len(rest) - 1
            here = paths.join(node.path, name)
            if comparison.is_outdated or here not in states:
                self._again(path, mark)
                return
            state = states[here]
            child = node.children.get(name) if node.children else None
            if not node.looked_up:
                # What a later watcher finds there counts as announced.
                node.names = None
            if node.names is None:
                return
            if state is None:
                own = mark.is_echo(None)
                if own and last:
                    self.counts["echoes"] += 1
                elif name in node.names:
                    yield from comparison.vanished(node, name)
                elif (
                    mark.foreign
                    and mark.clock > self._gone_at(here)
                    # Else the node may have gone by our own rename or removal.
                    and not self.echoes.under_way(here)
                    and not (child is not None and child.pending)
                ):
                    yield from comparison.transient(
                        node, name, directory=mark.subtree_hit or not last
                    )
                return
            here_mark = mark if last else Mark()
            if last and mark.is_echo(state):
                self.counts["echoes"] += 1
            if name not in node.names:
                yield from comparison.appeared(node, name, state, here_mark)
            elif child is None or child.announced is None:
                yield from comparison.touched(node, name, state, here_mark)
            else:
                yield from self._compare(child, state, here_mark, comparison)
            child = node.children.get(name) if node.children else None
            if child is None:
                return
            if last and (mark.subtree_hit or not mark.hit) and child.looked_up and not child.names:
                # Nodes below it came without an event, or with one that did not name them.
                for below in state.names:
                    self._marks.setdefault(paths.join(here, below), Mark())
            node = child

    def _gone_at(self, path: bytes) -> int:
        """The view's clock when the node was last removed, by itself or with one above it."""
        return max(self._gone.get(above, -1) for above in (path, *paths.ancestors(path)))

    # -- paths that wait to be compared -------------------------------------------------------

    def _put_back(self, turn: dict[bytes, Mark]) -> None:
        """Ask about these paths again, before those whose events came later."""
        for path, mark in turn.items():
            if path in self._marks:
                self._marks[path].merge(mark)
        if turn:
            self._marks = turn | self._marks

    def _again(self, path: bytes, mark: Mark) -> None:
        """The node table changed while the store was asked: ask about the path again."""
        self._mark(path).merge(mark)

    def _mark(self, path: bytes) -> Mark:
        mark = self._marks.get(path)
        if mark is None:
            if len(self._marks) >= _MARKS_MAX:
                self._marks.clear()
                self.invalidate_all()
            mark = self._marks[path] = Mark()
        return mark
