# prm: build, install and test. PGXS does the building; the two front doors (make demo, make check) and their relatives do
# their own set-up, so that they also run where no pg_config exists yet, and are therefore kept apart from PGXS.

FRONT_DOORS = demo demo-stop check matrix bench fuzz lint
ifneq (,$(filter $(FRONT_DOORS),$(MAKECMDGOALS)))

.PHONY: $(FRONT_DOORS)
demo:
	@bash test/tools/demo.sh
demo-stop:
	@bash test/tools/demo.sh stop
check:
	@bash test/tools/check.sh
lint:
	@bash test/tools/check.sh lint
bench:
	@bash test/tools/check.sh bench
fuzz:
	@bash test/tools/check.sh fuzz
matrix:
	@bash test/tools/matrix.sh

else

EXTENSION  = prm
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" prm.control)
MODULE_big = prm
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
CODE       = $(sort $(wildcard sql/code/*.sql))
STEPS      = $(sort $(wildcard sql/model/steps/*.sql))
DEFS       = $(sort $(wildcard sql/model/defs/*.sql))
STEP_COUNT = $(words $(STEPS))
DATA_built = sql/prm--$(EXTVERSION).sql
DATA       = $(filter-out $(DATA_built),$(wildcard sql/prm--*--*.sql))
DOCS       = README.md
REGRESS    = $(patsubst sql/%.sql,%,$(filter-out sql/prm--%,$(sort $(wildcard sql/*.sql))))
REGRESS_OPTS   = --load-extension=prm
ISOLATION      = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=output_iso --load-extension=prm
TAP_TESTS  = 1
PROVE_TESTS ?= test/t/*.pl
PG_CFLAGS  = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
PG_CPPFLAGS = -DPRM_VERSION='"$(EXTVERSION)"' -DPRM_STEPS=$(STEP_COUNT)
EXTRA_CLEAN = sql/prm--$(EXTVERSION).sql output_iso results .build
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# A VPATH build (packagers use one) needs the folder of the objects to exist.
$(shell mkdir -p $(sort $(dir $(OBJS))))

# The version and the number of steps are compiled in, so a change of either must rebuild what reports them.
src/prm.o src/install.o: prm.control $(STEPS)
$(OBJS): $(wildcard src/*.h)

# The install script: the code in load order, then the text of the model embedded as functions (see the tool).
$(DATA_built): $(CODE) $(STEPS) $(DEFS) sql/embed.sh prm.control
	@bash sql/embed.sh "$(EXTVERSION)" $(CODE) -- $(STEPS) -- $(DEFS) > $@.tmp && mv $@.tmp $@

endif
