# Forwards words to Python and holds no logic of its own: what a word means is decided there.
# Written for GNU make 3.81 too, which is what macOS ships.

.DEFAULT_GOAL := help
.PHONY: help setup sweep plan finetune calibrate status watch stop retry test test-clusters lint models data bench compile-tpu ui fit report

SYSTEM_PYTHON := python3
PYTHON := .venv/bin/python
READY := .venv/.ready

## BUDGET    compute of the largest single run, in core-hours of the study's hardware: 400, 0.4k, 10k, 110k
## BUDGETS   several of them, for the picks of fit and report, and for rehearse: 10k,110k
## PICK      a pick.yaml that fit has written: sweep and plan take its cells in place of the grid
## STUDY     the grid to run: scale_model (default), fashion_mnist, cifar10, jft
## DATA      what checkpoints are fine-tuned on: parts (default), fashion_mnist, cifar10, imagenet (default of STUDY=jft)
## CLUSTER   where it runs: local (default), inline, slurm, ray
## STRATEGY  what is run of the grid: grid (default), two_trial, trunk, informed, ladder, asha (docs/strategies.md)
## UNTIL     when enough is known, with STRATEGY=informed or ladder: 'loss@110k +- 1%', 'exponent +- 0.005'
## SPEND     hard cap on the sum over all runs, in core-hours
## SEEDS     how many seeds each cell is run with: 3 runs seeds 0, 1 and 2; of rehearse: how many rehearsals
## NAME      which benchmark (bench) or image set (data)
## MODEL     one model instead of the study's ladder: scale/f3, nfnet/f7p
## TOPOLOGY  the TPUs that compile-tpu compiles for, GENERATION:CHIPS: v4:2x2x1 (default), v4:4x4x4, v5e:4x4
## FORMAT    json: one JSON object on stdout and nothing else
## EXTRA     more words for the command itself: Hydra overrides (sweep, plan, models), options (all others)
WORDS := BUDGET BUDGETS PICK STUDY DATA CLUSTER STRATEGY UNTIL SPEND SEEDS NAME MODEL TOPOLOGY FORMAT EXTRA SYSTEM_PYTHON

# A misspelt word is refused: make itself would pass over BUGDET=10k in silence.
GIVEN := $(foreach word,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(word)))),$(word)))
UNKNOWN := $(filter-out $(WORDS) pick MAKE% -%,$(GIVEN))
$(if $(UNKNOWN),$(error $(UNKNOWN) is no word of this project; they are $(WORDS) (try: make help)))

# $(call said,name,NAME) is name='value' when NAME was given, be it empty, and nothing otherwise. The value reaches
# the command as it was typed: neither make nor the shell expands it. NAME, MODEL and DATA count only on the command line,
# for some shells set them for purposes of their own. PICK may be written pick, as the file is called.
quoted = '$(subst ','\'',$(value $(1)))'
is_given = $(filter $(if $(filter NAME MODEL DATA pick,$(1)),command,command environment override),$(firstword $(origin $(1))))
said = $(if $(call is_given,$(2)),$(1)=$(call quoted,$(2)))
positional = $(if $(call is_given,$(1)),$(call quoted,$(1)))
extra = $(value EXTRA)

STUDY_WORDS = $(call said,pick,PICK) $(call said,pick,pick) $(call said,study,STUDY) $(call said,budget,BUDGET) \
  $(call said,spend,SPEND) $(call said,seeds,SEEDS) $(call said,model,MODEL) $(call said,strategy,STRATEGY) $(call said,until,UNTIL) \
  $(call said,cluster,CLUSTER) $(call said,format,FORMAT)

help: ## these lines
	@'$(SYSTEM_PYTHON)' -I launcher/show_help.py

setup: $(READY) ## make .venv and install everything into it; the other commands do it by themselves

sweep: $(READY) ## train every cell within BUDGET that has no record yet, then fit the law and name the pick
	@$(PYTHON) -m launcher action=sweep $(STUDY_WORDS) $(extra)

plan: $(READY) ## price a study and say what is cut and why; trains nothing
	@$(PYTHON) -m launcher action=plan $(STUDY_WORDS) $(extra)

rehearse: $(READY) ## run a study's strategy where the law is known, on a simulated cluster: what it costs and concludes
	@$(PYTHON) -m launcher action=rehearse $(STUDY_WORDS) $(call said,budgets,BUDGETS) $(extra)

finetune: $(READY) ## carry a study's best checkpoints within BUDGET on to DATA: error against pre-training compute
	@$(PYTHON) -m launcher action=finetune $(STUDY_WORDS) $(call said,finetune,DATA) $(extra)

status: $(READY) ## where a study stands: runs by state, core-hours spent and reserved, time left; from any terminal
	@$(PYTHON) -m launcher action=status $(STUDY_WORDS) $(extra)

watch: $(READY) ## the same until it is done; Ctrl-C ends the looking and nothing else
	@$(PYTHON) -m launcher action=watch $(STUDY_WORDS) $(extra)

stop: $(READY) ## end a study's sweep from any terminal: driver, workers and what a cluster has queued
	@$(PYTHON) -m launcher action=stop $(STUDY_WORDS) $(extra)

retry: $(READY) ## give runs that failed, were left or ran out of memory another go
	@$(PYTHON) -m launcher action=retry $(STUDY_WORDS) $(extra)

calibrate: $(READY) ## time the training step of every model of STUDY on the devices here; plans price by it
	@$(PYTHON) -m launcher action=calibrate $(STUDY_WORDS) $(extra)

models: $(READY) ## parameters and multiply-accumulates of every model
	@$(PYTHON) -m launcher action=models $(STUDY_WORDS) $(extra)

fit: $(READY) ## fit the law to what is recorded: analysis/fit_scaling.py
	@$(PYTHON) analysis/fit_scaling.py $(call said,--study,STUDY) $(call said,--budgets,BUDGETS) \
	  $(if $(filter json,$(value FORMAT)),--json) $(extra)

report: $(READY) ## one HTML page of a study: answer, charts, every run, costs, provenance
	@$(PYTHON) analysis/make_report.py $(call said,--study,STUDY) $(call said,--budgets,BUDGETS) \
	  $(if $(filter json,$(value FORMAT)),--json) $(extra)

ui: $(READY) ## MLflow's pages over runs.sqlite on 127.0.0.1
	@$(PYTHON) -m tracking.ui $(extra)

data: $(READY) ## fetch the image set NAME: fashion_mnist or cifar10
	@$(PYTHON) -m training.images.fetch $(call positional,NAME) $(extra)

bench: $(READY) ## run the benchmark NAME; without NAME, list them
	@$(PYTHON) -m launcher.run_benchmark $(call positional,NAME) $(extra)

compile-tpu: $(READY) ## compile the training step of MODEL for the TPUs of TOPOLOGY, on any machine; takes minutes
	@$(PYTHON) -m training.pod.compile_tpu $(call positional,MODEL) $(call said,--topology,TOPOLOGY) \
	  $(call said,--format,FORMAT) $(extra)

test: $(READY) ## run the tests
	@$(PYTHON) -m pytest -n 3 $(extra)  # one more than CI's cores: tests of clusters wait most of the time

test-clusters: $(READY) ## start a real Slurm and a real Ray of several nodes and run their tests
	@$(PYTHON) -m tests.clusters.run_clusters $(if $(filter json,$(value FORMAT)),--json) $(extra)

lint: $(READY) ## check style, types and the directions of imports
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pyright
	@.venv/bin/lint-imports

$(READY): pyproject.toml constraints.txt
	@'$(SYSTEM_PYTHON)' -I launcher/bootstrap.py
