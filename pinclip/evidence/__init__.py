"""What is known of how well a detector works: scores in, tables, intervals and a report out.

    scores.py       out-of-fold logits of a run, a CSV of any other tool -> columns
    bootstrap.py    resampled images and groups -> figures under every draw
    tables.py       figures by source, generator, family and slice, two tools compared
    robustness.py   the same images made worse: what happens to AUC and verdicts
    plots.py, report.py, report.html.jinja    one page and one JSON of it all

Measures; trains nothing and decides nothing.
"""
