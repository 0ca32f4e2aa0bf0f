"""Beam search: the likeliest poem that keeps the rules, as far as K hypotheses can find it.

A baseline, not what chats get: the likeliest poem is bland, and the same each time. Hypotheses are
compared by log probability divided by the length penalty of Wu et al. (2016), ((5 + n) / 6)^α. All
have the same length here, so α scales the scores and leaves their order alone.
"""

import torch

from engine.checkpoint import Checkpoint
from engine.jobs import Job
from engine.runner import Runner, Words
from engine.sequence import Sequence, make_sequence

ALPHA = 0.75
"""α of the length penalty."""


def search(checkpoint: Checkpoint, job: Job, *, beams: int) -> tuple[Sequence, list[Words]]:
    """The `beams` likeliest poems found for one plan of `job`, the best first.

    One beam is greedy search.

    Raises:
        NoTemplateError: no template of the form admits what was asked.
    """
    sequence = make_sequence(job, checkpoint.vocabulary, checkpoint.priors)
    runner = Runner(checkpoint, slots=beams)
    runner.join(sequence)
    scores = torch.zeros(1)  # (beams so far,)
    for place in range(sequence.length):
        if place in sequence.given:
            runner.step()
            continue
        outlook = runner.look()
        logprobs = outlook.restricted.log_softmax(1)  # (beams so far, V)
        total = (scores[:, None] + logprobs).flatten()
        scores, best = total.topk(min(beams, int(torch.isfinite(total).sum())))
        width = logprobs.shape[1]
        runner.branch(outlook, best // width, best % width)
    return sequence, [runner.words(row, sequence.length) for row in range(runner.count)]


def length_penalty(length: int) -> float:
    """What the log probability of a hypothesis of `length` characters is divided by."""
    return float(((5 + length) / 6) ** ALPHA)
