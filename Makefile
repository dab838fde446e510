# `make` lists the targets. The work is done in scripts/.

# up and up_build start a Docker engine if none runs, and leave it running.
COMPOSE := scripts/docker-engine --stay scripts/compose

# RABBITMQ=4 tests with the image, which needs a Docker engine; otherwise with the installed package.
NODES := $(if $(filter 4,$(RABBITMQ)),scripts/docker-engine)

.DEFAULT_GOAL := help
.PHONY: help run test test-all chaos bench test-compose up_build up down logs fmt lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and run everything on this machine until Ctrl-C; no Docker needed
	@scripts/run

test: ## unit and end-to-end tests, with a private RabbitMQ and PostgreSQL
	@$(NODES) scripts/test

test-all: ## test and chaos on both generations of RabbitMQ, the proof, test-compose: about two hours
	@scripts/test-all

chaos: ## break everything under load for half an hour, and account for each event; RABBITMQ=3 or 4
	@$(NODES) scripts/chaos $(CHAOS)

bench: ## compare with peers and with RabbitMQ alone; BENCH="--rounds 1 publish" for a part
	@$(NODES) scripts/bench $(BENCH)

test-compose: ## the Docker test: build, start, use and remove the containers
	@scripts/docker-engine scripts/test-compose

up_build: ## stop, build and start everything in containers; wait until it is healthy
	@scripts/docker-engine --stay scripts/up --build

up: ## start the containers as they were built
	@scripts/docker-engine --stay scripts/up

down: ## stop the containers; keep their volumes
	@$(COMPOSE) down

logs: ## follow the containers' logs
	@$(COMPOSE) logs --follow

fmt: ## format the code
	cargo fmt --all

lint: ## check formatting, and clippy with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

clean: ## remove build output; keep ./data and the containers' volumes
	cargo clean
