def residual_figure(result): return None
