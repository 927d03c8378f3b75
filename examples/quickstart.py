"""Three regimes of the S&P 500, without the pipeline: run from the project's top folder."""

import polars as pl

import hsmm

prices = pl.read_parquet("examples/data/markets.parquet").filter(pl.col("symbol") == "SP500")
returns = 100 * prices["close"].log().diff().drop_nulls()

model = hsmm.HSMM(n_states=3, duration="negative_binomial", max_duration=120, n_init=8, random_state=0)
model.fit(returns)

today = model.filter_proba(returns)[-1]
left = model.remaining_duration(returns)[-1]
print("log-likelihood     ", round(model.log_likelihood_, 2))
print("state probabilities", today.round(3))
print("P(it ends in a week)", left[:5].sum().round(3))
