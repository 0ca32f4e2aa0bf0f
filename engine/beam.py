"""Beam search: the likeliest poem that keeps the rules, as far as K hypotheses can find it.

A baseline, not what chats get: the likeliest poem is bland, and the same each time. Hypotheses are
compared by log probability. All have the same length, so dividing by a length penalty (Wu et al.
2016, α = 0.75) would leave their order alone.
"""

import torch

from engine.checkpoint import Checkpoint
from engine.jobs import Job
from engine.runner import Runner, Words
from engine.sequence import Sequence, make_sequence


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
