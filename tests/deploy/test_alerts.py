"""The alert rules, by Prometheus' own tester."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.mqtt.fleet.services import DEPLOY

RULES = DEPLOY / "prometheus" / "alerts.yml"
TESTS = Path(__file__).with_name("alerts.test.yml")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_the_configuration_are_valid() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", str(TESTS))


def test_a_device_that_stays_silent_is_not_forgotten_for_a_month() -> None:
    promtool("test", "rules", str(TESTS.with_name("alerts-month.test.yml")))


def test_every_alert_is_tried_and_names_a_remedy() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    tried = {
        case["alertname"] for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }  # fmt: skip
    assert {rule["alert"] for rule in rules} == tried
    assert all(rule["annotations"]["remedy"] for rule in rules)
