def profile_figure(result): return None
