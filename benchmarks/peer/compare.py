#!/usr/bin/env python3
"""Puts our results beside the peer's: compare.py FOLDER CONTEXT..., after run.sh. Exit code 1 where losses differ by more than 1e-4."""
import json
import os
import sys

TOLERANCE = 1e-4


def load(folder, name):
    with open(os.path.join(folder, name)) as file:
        return json.load(file)


def has_peft(folder, context):
    return os.path.exists(os.path.join(folder, f"peer.{context}.peft.json"))


def gib(value):
    return f"{value / 2 ** 30:.2f}"


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def compare(folder, context, attention, peer_kind, ours):
    """One row of the speed table."""
    peer = load(folder, f"peer.{context}.{peer_kind}.json")
    cells = [context, attention, f"{ours['seconds']:.2f}"]
    if peer.get("out_of_memory"):
        return row(*cells, "out of memory", "", gib(ours["peak_resident_bytes"]), f"more than {gib(peer['peak_resident_bytes'])}", "")
    return row(*cells, f"{peer['seconds']:.2f}", f"{peer['seconds'] / ours['seconds']:.2f}", gib(ours["peak_resident_bytes"]), gib(peer["peak_resident_bytes"]),
               f"{peer['peak_resident_bytes'] / ours['peak_resident_bytes']:.1f}")


def losses(folder, context, attention, peer_kind, ours):
    """One row of the loss table; the largest difference, where the two should agree."""
    peer = load(folder, f"peer.{context}.{peer_kind}.json")
    if peer.get("out_of_memory"):
        row(context, attention, f"{ours['losses'][0]:.6f}", "out of memory", "", "")
        return 0
    first = abs(ours["losses"][0] - peer["losses"][0])
    later = max(abs(a - b) for a, b in zip(ours["losses"], peer["losses"]))
    row(context, attention, f"{ours['losses'][0]:.6f}", f"{peer['losses'][0]:.6f}", f"{first:.1e}", f"{later:.1e}")
    return first


def main():
    folder, contexts = sys.argv[1], sys.argv[2:]
    ours = load(folder, "ours.json")
    print("\nThe step: seconds of the shortest one, and resident memory of the whole process at its peak.\n")
    row("context", "attention", "ours s", "peer s", "times faster", "ours GiB", "peer GiB", "times less")
    row(*["---:"] * 8)
    for context in contexts:
        compare(folder, context, "S² (peer: published roll)", "s2-roll", ours[context]["s2"])
        compare(folder, context, "full", "full", ours[context]["full"])
        if has_peft(folder, context):
            compare(folder, context, "full (peer: PEFT)", "peft", ours[context]["full"])
            compare(folder, context, "S² (peer: PEFT with full attention)", "peft", ours[context]["s2"])
    print("\nLosses: before the first step, and the largest difference over all steps that both took.\n")
    row("context", "attention", "ours", "peer", "difference", "all steps")
    row("---:", "---", "---:", "---:", "---:", "---:")
    worst = 0
    for context in contexts:
        worst = max(worst, losses(folder, context, "full", "full", ours[context]["full"]))
        if has_peft(folder, context):
            worst = max(worst, losses(folder, context, "full, PEFT", "peft", ours[context]["full"]))
        worst = max(worst, losses(folder, context, "S², no wrap", "s2-mask", ours[context]["s2"]))
        losses(folder, context, "S², published roll: its first half group sees the end of the text", "s2-roll", ours[context]["s2"])
    agree = worst <= TOLERANCE
    print(f"\nFull attention and S² without wrap {'agree' if agree else 'DO NOT agree'} within {TOLERANCE:g} (largest difference {worst:.1e}).")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
