"""Kinds of held-out pairs on which a reward model may be better or worse than on all together."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

from training.data.examples import Pair
from training.preferences.agreement import agreement

STRONG = 0.5  # of the scale: the middle one of three levels is strong, as are two of four

# Quarters of the judged pairs by how many tokens one response is longer than the other.
LENGTH_GAPS = ("smallest_length_gap", "smaller_length_gap", "larger_length_gap", "largest_length_gap")


def subset_figures(pairs: Sequence[Pair], differences: Sequence[float]) -> dict[str, object]:
    """Accuracy with its interval on each kind of judged pairs that occurs, and how many there are."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for name, index in _memberships(pairs):
        members[name].append(index)
    figures: dict[str, object] = {}
    counts: dict[str, int] = {}
    for name in sorted(members):
        found = agreement([pairs[index] for index in members[name]], [differences[index] for index in members[name]])
        if found.accuracy is None:
            continue
        counts[name] = found.pairs
        figures[f"accuracy_{name}"] = found.accuracy.mean
        figures[f"accuracy_{name}_low"] = found.accuracy.low
        figures[f"accuracy_{name}_high"] = found.accuracy.high
    return {**figures, "subset_pairs": counts, "length_gap_quartiles": _quartiles(pairs)}


def _quartiles(pairs: Sequence[Pair]) -> list[int]:
    """The largest gap of each quarter but the last, in tokens; equal gaps are in one quarter, so that some may be
    empty."""
    gaps = sorted(_length_gap(pair) for pair in pairs if pair.preference != 0.5)
    return [gaps[-(-len(gaps) * quarter // 4) - 1] for quarter in (1, 2, 3)] if gaps else []


def _length_gap(pair: Pair) -> int:
    return abs(len(pair.a) - len(pair.b))


def _memberships(pairs: Sequence[Pair]) -> Iterator[tuple[str, int]]:
    """Kinds by name, each with a judged pair of it. Whether several people agreed is known of pairs that were judged
    more than once."""
    said: defaultdict[frozenset[tuple[int, ...]], list[float]] = defaultdict(list)
    for pair in pairs:
        said[_sides(pair)].append(_for_the_first(pair))
    kinds = {_kind(pair) for pair in pairs}
    quartiles = _quartiles(pairs)
    for index, pair in enumerate(pairs):
        if pair.preference == 0.5:
            continue
        better, worse = (pair.a, pair.b) if pair.preference > 0.5 else (pair.b, pair.a)
        if len(better) != len(worse):
            yield ("longer_preferred" if len(better) > len(worse) else "shorter_preferred"), index
        yield LENGTH_GAPS[bisect_left(quartiles, _length_gap(pair))], index
        if pair.strength is not None:
            yield ("strong" if pair.strength >= STRONG else "slight"), index
        if len(said[_sides(pair)]) > 1:
            yield ("unanimous" if len(set(said[_sides(pair)])) == 1 else "disputed"), index
        if len(kinds) > 1 and _kind(pair):
            yield f"{_kind(pair)}_judgements", index


def _sides(pair: Pair) -> frozenset[tuple[int, ...]]:
    return frozenset((pair.a.token_ids, pair.b.token_ids))


def _for_the_first(pair: Pair) -> float:
    """The verdict whichever way round the pair was stored: 1 for the response that sorts first, 0 against."""
    if pair.preference == 0.5:
        return 0.5
    return float((pair.preference > 0.5) == (pair.a.token_ids < pair.b.token_ids))


def _kind(pair: Pair) -> str:
    """“human” of “human:17”."""
    return pair.source.partition(":")[0]
