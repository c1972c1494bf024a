def backtest_figure(result): return None
