# deps, format, clean, help.

# What building and the tests need, by the same names on Debian 12, 13 and Ubuntu 24.04. `make check` and `make demo` call this.
deps:
	scripts/deps.sh
	scripts/python-tools.sh
	scripts/kafka/librdkafka.sh fetch

FORMATTED := $(shell git ls-files '*.c' '*.h' '*.cc' 2>/dev/null)
format:
	clang-format -i $(FORMATTED)

clean:
	rm -rf $(BUILD)

help:
	@echo 'make [all]           build build/bin/{weir,weir-jobmanager,weir-taskmanager}, libweir, the examples'
	@echo 'make demo            install what is missing, build, run the temperature job on a small cluster for a minute'
	@echo 'make demo-kafka      the same with a Kafka broker: three topics, three jobs, results and dead letters; a TaskManager and the broker are killed'
	@echo 'make check           install what the tests need and run them all'
	@echo 'make check-asan      unit, operator and end-to-end tests under AddressSanitizer and UBSan'
	@echo 'make check-tsan      the same under ThreadSanitizer'
	@echo 'make check-large     state ten times its budget at full size: 640 MB in 64 MB, with kills'
	@echo 'make check-network   a cluster on several hosts (network namespaces) whose network fails in many ways; root'
	@echo 'make check-containers  the image built from nothing, the manifests and the compose file run in containers'
	@echo 'make check-kafka-system  the Kafka tests with the distribution'"'"'s librdkafka'
	@echo 'make check-page      the buttons of the page in chromium'
	@echo 'make check-portable  other systems and compilers in clean roots, arm64 under qemu; make check-package: the packages there'
	@echo 'make check-kubernetes  and deploy/kubernetes on a real one-node cluster; root and Go'
	@echo 'make sim SEEDS=n     the cluster simulator over n seeds and all mutants; SEED=n replays one; make sim-long SEEDS=n many more'
	@echo 'make fuzz SECONDS=n  each fuzz target n seconds long, with clang and libFuzzer (tests/fuzz)'
	@echo 'make torture FAULTS=n n injected faults (memory, files, sockets, ...) over everything, and n kills; RUNS=r seeds of these'
	@echo 'make check-s3        the object store against versitygw; make check-minio: against MinIO, with kills'
	@echo 'make bench           the speed figures, PASS or MISS each; make bench-rival: beside Apache Flink'
	@echo 'make install         PREFIX=/usr/local, DESTDIR= for a staged one; make uninstall removes exactly that'
	@echo 'make package         .deb files and a relocatable tar.gz, below build/package'
	@echo 'make format clean deps'
.PHONY: deps format clean help

demo:
	scripts/deps.sh build
	@$(MAKE) --no-print-directory all
	BUILD=$(BUILD) scripts/demo.py
demo-kafka:
	scripts/deps.sh kafka
	scripts/kafka/kafka.sh fetch
	@$(MAKE) --no-print-directory all
	BUILD=$(BUILD) scripts/demo_kafka.py
.PHONY: demo demo-kafka
