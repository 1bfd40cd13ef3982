"""Whether what clients saw of one object can have happened one thing after the other.

A history is a list of Call; each has the moment it was sent, the moment it was answered, and what it does. steps(state) gives
the states that it may lead to when its moment is now: none if the answer then cannot be. Calls whose answer nobody got may
have happened or not, until the moment given as their end."""


class Call:
    def __init__(self, sent, answered, steps, certain=True, what=''):
        self.sent, self.answered, self.steps, self.certain, self.what = sent, answered, steps, certain, what

    def __repr__(self):
        return self.what


def _after(configs, call):
    """All ways to go on until this call has happened; the others that wait may happen before it."""
    done, seen, work = set(), set(configs), list(configs)
    while work:
        state, waiting = work.pop()
        if call not in waiting:
            done.add((state, waiting))
            continue
        for other in waiting:
            for state_then in other.steps(state):
                config = state_then, waiting - {other}
                if config not in seen:
                    seen.add(config)
                    work.append(config)
        if not call.certain:
            done.add((state, waiting - {call}))
    return done


def contradiction(calls, state):
    """The first call, in order of answers, that no order of moments explains; None when there is none."""
    moments = sorted([(c.sent, 0, i) for i, c in enumerate(calls)] + [(c.answered, 1, i) for i, c in enumerate(calls)])
    configs = {(state, frozenset())}
    for _, answered, i in moments:
        call = calls[i]
        if answered:
            configs = _after(configs, call)
            if not configs:
                return call
        else:
            configs = {(s, waiting | {call}) for s, waiting in configs}
    return None
