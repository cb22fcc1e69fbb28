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

# A VPATH build (packagers use one) runs in another folder than that of this file.
HERE := $(dir $(firstword $(MAKEFILE_LIST)))
sources = $(sort $(patsubst $(HERE)%,%,$(wildcard $(HERE)$(1))))

EXTENSION  = prm
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(HERE)prm.control)
MODULE_big = prm
OBJS       = $(patsubst %.c,%.o,$(call sources,src/*.c))
CODE       = $(call sources,sql/code/*.sql)
STEPS      = $(call sources,sql/model/steps/*.sql)
DEFS       = $(call sources,sql/model/defs/*.sql)
STEP_COUNT = $(words $(STEPS))
DATA_built = sql/prm--$(EXTVERSION).sql
DATA       = $(filter-out $(DATA_built),$(call sources,sql/prm--*--*.sql))
DOCS       = README.md
TESTS      = $(patsubst sql/%.sql,%,$(filter-out sql/prm--%,$(call sources,sql/*.sql)))
SPECS      = $(patsubst test/isolation/specs/%.spec,%,$(call sources,test/isolation/specs/*.spec))
TAP_TESTS  = 1
PROVE_TESTS ?= test/t/*.pl
PG_CFLAGS  = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
PG_CPPFLAGS = -DPRM_VERSION='"$(EXTVERSION)"' -DPRM_STEPS=$(STEP_COUNT)
EXTRA_CLEAN = sql/prm--$(EXTVERSION).sql output_iso results .build
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The folders of what is built must exist in a VPATH build too.
$(shell mkdir -p $(sort $(dir $(OBJS))) sql)

# The version and the number of steps are compiled in, so a change of either must rebuild what reports them.
src/prm.o src/install.o: prm.control $(STEPS)
$(OBJS): $(call sources,src/*.h)

# The install script: the code in load order, then the text of the model embedded as functions (see the tool).
$(DATA_built): $(CODE) $(STEPS) $(DEFS) sql/embed.sh prm.control
	@cd $(HERE). && bash sql/embed.sh "$(EXTVERSION)" $(CODE) -- $(STEPS) -- $(DEFS) > "$(CURDIR)/$@.tmp" && mv "$(CURDIR)/$@.tmp" "$(CURDIR)/$@"

# make installcheck against the server that PGHOST, PGPORT and PGUSER name, where the extension is installed; PGXS adds the
# TAP tests. Each test has a database of its own, because a programme that one makes would be in the way of another;
# TESTS="a b" and SPECS="c" choose.
REGRESS_OPTS   = --load-extension=prm
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --outputdir=output_iso --load-extension=prm
.PHONY: installcheck-regress installcheck-isolation
installcheck: installcheck-regress installcheck-isolation
installcheck-regress:
	@status=0; for test in $(TESTS); do $(pg_regress_installcheck) $(REGRESS_OPTS) --dbname=contrib_regression_$$test $$test || status=1; done; exit $$status
installcheck-isolation:
	@status=0; for spec in $(SPECS); do $(pg_isolation_regress_installcheck) $(ISOLATION_OPTS) --dbname=isolation_regression_$$spec $$spec || status=1; done; exit $$status

endif
