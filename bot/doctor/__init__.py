"""`python -m bot doctor`: looks at all that Yuefu stands on, and says what to do about it.

It changes nothing, needs nothing to be there yet, and shows no secret. In reading order:

    variables.py     the environment becomes settings, also where some of it is wrong
    examination.py   every check, beside the others; none can keep another from running
    agreement.py, data.py, redis_server.py, keeping.py, rights.py, engines.py, database.py,
    models.py, cards.py, platforms.py, listening.py, clock.py
                     a subject each: functions that return findings
    finding.py       what a check says
    place.py         where a server is, and why it does not answer
    report.py        all of it, for people or as JSON
"""
