import dataclasses
from pathlib import Path

from strategy.spec import BY_ROUNDS, SETTINGS, STRATEGIES, StrategySpec


def test_every_strategy_has_its_file_and_its_settings(checkout: Path) -> None:
    """conf/strategy holds one file a strategy, with the settings that it has and no others."""
    import yaml

    files = {path.stem: yaml.safe_load(path.read_text()) for path in (checkout / "conf" / "strategy").glob("*.yaml")}
    assert set(files) == set(STRATEGIES) == set(SETTINGS)
    fields = {field.name for field in dataclasses.fields(StrategySpec)}
    for name, words in files.items():
        assert words.pop("name") == name
        assert set(words) == set(SETTINGS[name]) <= fields
    assert [name for name in STRATEGIES if StrategySpec(name=name).is_by_rounds] == list(BY_ROUNDS)
