"""Parameters: presets, overrides, and refusals that name what is allowed."""

import pytest

from millrace_trainer.config import PRESETS, read_config
from millrace_trainer.network import GPT, learning_rate_factor
from millrace_trainer.problems import Problem


def test_parameters_override_the_preset_one_by_one() -> None:
    config = read_config({"preset": "gpt3-126m", "maxSteps": "10", "learningRate": "1e-4"}, 1)
    assert (config.layers, config.hiddenSize, config.maxSteps, config.learningRate) == (12, 768, 10, 1e-4)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"learningrate": "1"}, "unknown parameter 'learningrate'; allowed: preset, data, layers"),
        ({"preset": "huge"}, "one of tiny, gpt3-126m"),
        ({"maxSteps": "many"}, "parameter maxSteps must be an integer"),
        ({"maxSteps": "0"}, "more than 0"),
        ({"learningRate": "-1"}, "more than 0"),
        ({"learningRate": "nan"}, "more than 0"),
        ({"learningRate": "inf"}, "at most 1e+30"),
        ({"dropout": "1"}, "less than 1"),
        ({"data": "images"}, "one of text, mock"),
        ({"heads": "3"}, "multiple of heads 3"),
        ({"vocabSize": "100"}, "at least 257"),
        ({"globalBatchSize": "24"}, "multiple of microBatchSize 8 times 2 ranks"),
    ],
)
def test_a_bad_parameter_is_refused_with_what_is_allowed(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(Problem) as caught:
        read_config(parameters, 2)
    assert caught.value.reason == "BadParameter"
    assert says in caught.value.message


def test_the_126m_preset_has_the_published_number_of_parameters() -> None:
    network = GPT(PRESETS["gpt3-126m"])
    assert sum(parameter.numel() for parameter in network.parameters()) == 125_262_336


def test_the_learning_rate_warms_up_and_ends_at_its_least() -> None:
    config = read_config({"maxSteps": "100", "warmupSteps": "10", "learningRate": "1", "minLearningRate": "0.1"}, 1)
    rates = [learning_rate_factor(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
