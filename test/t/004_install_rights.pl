# Who may install, where, and what a hostile role that was there first can do about it (nothing).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use PrmTest;

my $node = new_server('rights', $ENV{PRM_DEST});
my $version = version_of();

# --- the ordinary owner of a database ---
create_owner($node, 'keeper', 'kept');
fails($node, 'kept', 'SELECT prm.install()', '42501', qr/only the owner of schema "prm" may do this.*keeper/s, 'a superuser who does not own the schema does not install');
is(sql($node, 'kept', "SELECT count(*) FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind = 'r'"), '0', 'nothing was made');
is(sql($node, 'kept', 'SET ROLE keeper; SELECT prm.install()'), $version, 'after SET ROLE he does');
is(sql($node, 'kept', 'SELECT prm.install()', user => 'keeper'), $version, 'the owner installs');
is(sql($node, 'kept', "SELECT count(*) FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind IN ('r', 'v', 'S') AND relowner <> 'keeper'::regrole"), '0', "the whole model is the owner's");
fails($node, 'kept', "SELECT prm.uninstall('drop all prm data')", '42501', qr/only the owner of schema "prm" may do this/, 'nobody else uninstalls, superusers included');
fails($node, 'kept', "SELECT prm.uninstall('drop all data')", '22023', qr/not dropped without its confirmation.*HINT.*drop all prm data/s, 'not with a wrong confirmation', user => 'keeper');
fails($node, 'kept', 'SELECT prm.uninstall(NULL)', '22023', qr/not dropped without its confirmation/, 'nor with none', user => 'keeper');

# --- a role without rights ---
sql($node, 'postgres', 'CREATE ROLE nobody LOGIN');
fails($node, 'kept', 'SELECT prm.install()', '42501', qr/permission denied for schema prm/, 'without rights on the schema nothing can be called', user => 'nobody');
sql($node, 'kept', 'GRANT USAGE, CREATE ON SCHEMA prm TO nobody', user => 'keeper');
fails($node, 'kept', 'SELECT prm.install()', '42501', qr/only the owner of schema "prm" may do this/, 'the right to create in the schema is not enough', user => 'nobody');
# What another role made inside the schema is not the owner's to drop.
sql($node, 'kept', 'CREATE TABLE prm.theirs (n int)', user => 'nobody');
fails($node, 'kept', "SELECT prm.uninstall('drop all prm data')", '2BP01', qr/table prm.theirs of role nobody/, 'uninstall leaves what belongs to another role', user => 'keeper');

# --- a superuser made code and schema; handing the schema over comes before installing ---
sql($node, 'postgres', 'CREATE DATABASE plain OWNER keeper');
sql($node, 'plain', 'CREATE EXTENSION prm');
fails($node, 'plain', 'SELECT prm.install()', '42501', qr/permission denied for schema prm/, "the schema is the superuser's", user => 'keeper');
sql($node, 'plain', 'ALTER SCHEMA prm OWNER TO keeper');
is(install_as($node, 'plain', 'keeper'), $version, 'ALTER SCHEMA ... OWNER mends it');
is(sql($node, 'plain', "SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass AND classid = 'pg_class'::regclass
  AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'prm'::regnamespace AND relkind <> 'c')"), '0', 'no relation is a member');

# --- three at once ---
sql($node, 'postgres', 'CREATE DATABASE thrice OWNER keeper');
sql($node, 'thrice', 'CREATE SCHEMA prm AUTHORIZATION keeper; CREATE EXTENSION prm');
my @sessions = map { IPC::Run::start([ PrmTest::pg_config('bindir') . '/psql', '-X', '-At', '-h', $node->host, '-p', $node->port, '-U', 'keeper', '-c', 'SELECT prm.install()', 'thrice' ],
	'<', \undef, '>', \my $out, '2>', \my $error) } 1 .. 3;
is(scalar(grep { IPC::Run::finish($_) } @sessions), 3, 'three sessions install at once, all succeed');
is(sql($node, 'thrice', "SELECT count(*) = count(DISTINCT step) FROM prm.model", user => 'keeper'), 't', 'and each step ran once');

# --- inside another extension's script ---
# A script of a made-up extension, where this server looks for them.
my $dest = $ENV{PRM_DEST} || '';
my $folder = $dest . PrmTest::pg_config('sharedir') . '/extension';
SKIP:
{
	skip 'the folder of extensions cannot be written', 3 unless -w $folder;
	append_to_file("$folder/prm_test_other.control", "comment = 'test'\ndefault_version = '1'\nrelocatable = false\n");
	append_to_file("$folder/prm_test_other--1.sql", "CREATE FUNCTION public.harmless() RETURNS int LANGUAGE sql AS 'SELECT 1';\nSELECT prm.install();\n");
	sql($node, 'postgres', 'CREATE DATABASE other');
	sql($node, 'other', 'CREATE EXTENSION prm');
	fails($node, 'other', 'CREATE EXTENSION prm_test_other', '55000', qr/cannot be installed or dropped inside an extension script/, 'install() is refused inside an extension script');
	is(sql($node, 'other', "SELECT to_regclass('prm.model') IS NULL, to_regproc('public.harmless') IS NULL"), 't|t', 'and nothing is left');
	sql($node, 'other', 'SELECT prm.install()');
	unlink "$folder/prm_test_other--1.sql";
	append_to_file("$folder/prm_test_other--1.sql", "SELECT prm.uninstall('drop all prm data');\n");
	fails($node, 'other', 'CREATE EXTENSION prm_test_other', '55000', qr/cannot be installed or dropped inside an extension script/, 'nor uninstall()');
	unlink glob("$folder/prm_test_other*");
}

# --- a hostile role was there first ---
sql($node, 'postgres', 'CREATE ROLE mallory LOGIN; CREATE DATABASE trap; GRANT CREATE ON DATABASE trap TO mallory');
sql($node, 'trap', 'GRANT CREATE ON SCHEMA public TO mallory');
sql($node, 'trap', 'CREATE SCHEMA prm', user => 'mallory');
fails($node, 'trap', 'CREATE EXTENSION prm', '42501', qr/schema "prm" belongs to a role that may not own/, 'a schema that another role made beforehand is refused');
fails($node, 'trap', "SET prm.adopt = 'on'; CREATE EXTENSION prm", '42501', qr/permission denied|must be superuser/i, 'the role itself cannot create the extension', user => 'mallory');
sql($node, 'trap', "CREATE FUNCTION prm._check_program(integer) RETURNS bigint LANGUAGE sql AS 'SELECT 666::bigint'", user => 'mallory');
sql($node, 'trap', 'ALTER SCHEMA prm OWNER TO postgres');
fails($node, 'trap', 'CREATE EXTENSION prm', '42P06', qr/schema "prm" already exists and is not empty/, 'nor is one with something planted in it, whoever owns it now');
sql($node, 'trap', 'DROP SCHEMA prm CASCADE; DROP OWNED BY mallory; GRANT CREATE ON SCHEMA public TO mallory; GRANT TEMPORARY ON DATABASE trap TO mallory');

# Planted objects with better matching types than the catalog's own, first on everybody's path. Each writes a line.
sql($node, 'trap', <<'SQL', user => 'mallory');
CREATE TABLE public.stolen (who text, what text);
GRANT ALL ON public.stolen TO PUBLIC;
CREATE FUNCTION public.caught(what text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user, what); RETURN true; END $$;
CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS $$ SELECT 'x' FROM public.caught('lower') $$;
CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'x' FROM public.caught('lower') $$;
CREATE FUNCTION public.btrim(text) RETURNS text LANGUAGE sql AS $$ SELECT 'x' FROM public.caught('btrim') $$;
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'x' FROM public.caught('format') $$;
CREATE FUNCTION public.sum(bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint FROM public.caught('sum') $$;
CREATE FUNCTION public.coalesced(numeric, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('operator') $$;
CREATE FUNCTION public.names(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('name = name') $$;
CREATE FUNCTION public.names(name, text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('name = text') $$;
CREATE FUNCTION public.texts(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('text = text') $$;
CREATE FUNCTION public.ids(oid, oid) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('oid = oid') $$;
CREATE FUNCTION public.bigs(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('bigint = bigint') $$;
CREATE FUNCTION public.bigint_int(bigint, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT public.caught('bigint > integer') $$;
CREATE OPERATOR public.= (leftarg = name, rightarg = name, procedure = public.names);
CREATE OPERATOR public.= (leftarg = name, rightarg = text, procedure = public.names);
CREATE OPERATOR public.= (leftarg = text, rightarg = text, procedure = public.texts);
CREATE OPERATOR public.= (leftarg = oid, rightarg = oid, procedure = public.ids);
CREATE OPERATOR public.= (leftarg = bigint, rightarg = bigint, procedure = public.bigs);
CREATE OPERATOR public.> (leftarg = bigint, rightarg = integer, procedure = public.bigint_int);
CREATE OPERATOR public.> (leftarg = numeric, rightarg = integer, procedure = public.coalesced);
SQL
sql($node, 'postgres', "ALTER DATABASE trap SET search_path = public, pg_catalog");
sql($node, 'trap', 'CREATE EXTENSION prm; SELECT prm.install()');
is(sql($node, 'trap', 'SELECT count(*) FROM public.stolen'), '0', 'planted functions and operators are not called by CREATE EXTENSION and install()');
sql($node, 'trap', <<'SQL');
SELECT prm.create_program('Trap', 'reseller');
INSERT INTO prm.partner (name) VALUES ('P');
INSERT INTO prm.lead (company, partner_id) VALUES ('L', 1);
INSERT INTO prm.deal (name, partner_id, amount, currency) VALUES ('D', 1, 20000, 'USD');
SELECT prm.fire('deal', 1, 'win');
SELECT * FROM prm.explain_commission(1);
SELECT * FROM prm.allowed_events('lead', 1);
SELECT prm.machine_dot('lead', 1);
SELECT * FROM prm.check();
SELECT * FROM prm.version();
SELECT prm.now(), prm.current_program(), prm.current_partner(), prm.current_actor();
CALL prm.run_jobs();
SQL
is(sql($node, 'trap', "SELECT coalesce(pg_catalog.string_agg(DISTINCT who OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) what, ', '), '') FROM public.stolen"), '',
	'nor by the engines at work');

unlike(slurp_file($node->logfile), qr/WARNING:/, 'no warning in the log of the server');
done_testing();
