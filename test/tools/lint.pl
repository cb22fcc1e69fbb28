#!/usr/bin/env perl
# Lint of the sources: house rules that no compiler knows. Prints "ok RULE" or "not ok RULE" with the places below it.
#   lint.pl TREE
use strict;
use warnings;
use File::Find;

my $tree = shift || '.';
chdir $tree or die "cannot enter $tree: $!\n";
my $faults = 0;

sub slurp
{
	my ($file) = @_;
	open my $handle, '<:raw', $file or die "$file: $!\n";
	local $/;
	return scalar <$handle>;
}

sub rule
{
	my ($name, @found) = @_;
	print @found ? "not ok $name\n" : "ok $name\n";
	print "$_\n" for @found[0 .. ($#found > 19 ? 19 : $#found)];
	printf "and %d more\n", @found - 20 if @found > 20;
	$faults += @found;
}

sub line_of { my ($text, $position) = @_; return 1 + (substr($text, 0, $position) =~ tr/\n//); }

# The text with comments and the inside of quotes blanked, same length, so that positions stay.
sub blank { my ($part) = @_; $part =~ s/[^\n]/ /g; return $part; }
sub bare_c
{
	my ($text) = @_;
	$text =~ s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')}{blank($1)}gse;
	return $text;
}
sub bare_sql
{
	my ($text) = @_;
	$text =~ s{(--[^\n]*|/\*.*?\*/|'(?:[^']|'')*')}{blank($1)}gse;
	return $text;
}

# From an opening bracket to its partner, in blanked text.
sub call_at
{
	my ($bare, $start) = @_;
	my $depth = 0;
	for (my $i = $start; $i < length $bare; $i++)
	{
		my $c = substr($bare, $i, 1);
		$depth++ if $c eq '(';
		return substr($bare, $start, $i - $start + 1) if $c eq ')' and --$depth == 0;
	}
	return substr($bare, $start);
}

my (@all, %skip);
find(
	{
		no_chdir => 1,
		wanted   => sub {
			$File::Find::prune = 1 if -d && m{/(\.git|\.demo|\.build|\.matrix|tmp_check|results|output_iso|installed)$};
			push @all, s{^\./}{}r if -f && !m{\.(o|bc|so|png|log)$} && !m{sql/prm--[^/]*\.sql$};
		}
	},
	'.');
@all = sort @all;
my @c     = grep { m{^src/.*\.[ch]$} } @all;
my @sql   = grep { m{^sql/(code|model)/.*\.sql$} } @all;
my %text  = map { $_ => slurp($_) } @all;
my @found;

# --- errors teach ---
@found = ();
for my $file (grep { /\.c$/ } @c)
{
	my $bare = bare_c($text{$file});
	while ($bare =~ /\b(ereport\s*\(\s*ERROR\b|ereturn\s*\(|errsave\s*\()/g)
	{
		my $position = $-[0];
		my $call = call_at($bare, index($bare, '(', $position));
		next if $file =~ /compat/;
		my @lacks = grep { $call !~ /\b$_\w*\s*\(/ } qw(errcode errmsg errdetail errhint);
		push @found, "$file:" . line_of($bare, $position) . " lacks " . join(', ', @lacks) if @lacks;
	}
}
rule('every ereport(ERROR) has errcode, errmsg, errdetail and errhint', @found);

@found = ();
for my $file (@sql)
{
	my $bare = bare_sql($text{$file});
	while ($bare =~ /\bRAISE\s+EXCEPTION\b([^;]*);/gi)
	{
		my ($position, $body) = ($-[0], $1);
		my @lacks = grep { $body !~ /\b$_\b/i } qw(ERRCODE MESSAGE DETAIL HINT);
		push @found, "$file:" . line_of($bare, $position) . " lacks " . join(', ', @lacks) if @lacks;
	}
}
rule('every RAISE EXCEPTION has ERRCODE, MESSAGE, DETAIL and HINT', @found);

@found = ();
for my $file (@sql)
{
	my $text = $text{$file};
	while ($text =~ /\b(?:MESSAGE\s*=|errmsg\s*\()\s*(?:format\s*\(\s*)?(?:E)?'([^']*)'/g)
	{
		my ($position, $message) = ($-[0], $1);
		push @found, "$file:" . line_of($text, $position) . " '$message'" if $message =~ /^[A-Z][a-z]+ / or $message =~ /\.$/;
	}
}
rule('messages of errors begin in lower case and have no full stop', @found);

@found = ();
for my $file (@sql)
{
	my $bare = bare_sql($text{$file});
	while ($bare =~ /\bWHEN\s+OTHERS\b/gi)
	{
		my $position = $-[0];
		my $from = rindex(uc substr($bare, 0, $position), 'EXCEPTION');
		my $block = substr($bare, $from < 0 ? 0 : $from);
		my $end = $block =~ /\n\s*END\b(?!\s+(IF|LOOP|CASE))/i ? $-[0] : length $block;
		$block = substr($block, 0, $end);
		push @found, "$file:" . line_of($bare, $position)
		  unless $block =~ /\bRAISE\s*;/i or ($block =~ /serialization_failure/i and $block =~ /deadlock_detected/i);
	}
}
rule('WHEN OTHERS lets serialization failures and deadlocks through', @found);

# --- what may not stand in the write path ---
@found = ();
for my $file (@c, @sql)
{
	my $bare = $file =~ /\.sql$/ ? bare_sql($text{$file}) : $text{$file};
	while ($bare =~ /(pg_notify|Async_Notify|^\s*NOTIFY\b|\bCREATE\s+(GLOBAL\s+|LOCAL\s+)?TEMP|pg_(try_)?advisory_lock(_shared)?\s*\()/gim)
	{
		push @found, "$file:" . line_of($bare, $-[0]) . " $1";
	}
}
rule('no NOTIFY, no temp tables, no session advisory locks', @found);

@found = ();
for my $file (grep { /\.c$/ } @c)
{
	my $text = $text{$file};
	$text =~ s{(/\*.*?\*/)}{blank($1)}gse;
	while ($text =~ /("(?:\\.|[^"\\])*"(?:\s*(?:\n\s*)?"(?:\\.|[^"\\])*")*)/g)
	{
		my ($position, $query) = ($-[0], $1);
		$query = join '', map { substr $_, 1, -1 } $query =~ /"(?:\\.|[^"\\])*"/g;
		next unless $query =~ /^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|MERGE|TRUNCATE|LOCK)\b/;
		$query =~ s/'(?:[^']|'')*'/''/g;
		my %cte = map { lc $_ => 1 } $query =~ /(?:WITH|,)\s+(?:RECURSIVE\s+)?(\w+)(?:\s*\([^()]*\))?\s+AS\s+(?:NOT\s+MATERIALIZED\s+|MATERIALIZED\s+)?\(/gi;
		while ($query =~ /(\w+\s+)?\b(FROM|JOIN|INTO|UPDATE|TABLE|USING)\s+(?:ONLY\s+|LATERAL\s+)?([A-Za-z_][\w.]*)(\s*\()?/g)
		{
			my ($before, $word, $name, $function) = ($1 // '', $2, $3, $4);
			next if $before =~ /DISTINCT|FOR|KEY|DO|ON/i or $name =~ /\./ or $cte{ lc $name } or $name =~ /^(SET|SELECT|LATERAL|OF|NOWAIT|SKIP)$/i;
			# A function in FROM: the search_path is pinned to pg_catalog around every query of the library.
			next if $function and $word ne 'INTO';
			push @found, "$file:" . line_of($text, $position) . " $word $name";
		}
	}
}
rule('queries of the library name tables with their schema', @found);

# --- what a merge leaves behind ---
# Two names that lost the comma between them are one literal, which nobody misses: 'a''b', or 'a' and 'b' on two lines.
@found = ();
for my $file (@sql)
{
	my $text = $text{$file};
	$text =~ s{(--[^\n]*)}{blank($1)}ge;
	while ($text =~ /'((?:[^']|'')*)'(\s*\n\s*(?='))?/g)
	{
		my ($position, $inside, $continued) = ($-[0], $1, $2);
		push @found, "$file:" . line_of($text, $position) . " '$inside'" if $inside =~ /^\w+''\w+$/ or (defined $continued and $inside =~ /^\w+$/);
	}
}
for my $file (@c)
{
	my $text = $text{$file};
	$text =~ s{(/\*.*?\*/)}{blank($1)}gse;
	while ($text =~ /"(\w+)"\s+"(\w+)"/g) { push @found, "$file:" . line_of($text, $-[0]) . " \"$1\" \"$2\""; }
}
rule('no two names are joined for want of a comma', @found);

# Functions that begin with _ are ours alone, so something of ours must call each. Calls from itself and from tests count nothing.
# (The two exact paths beside fast ones exist for the comparison.)
my %probe = map { $_ => 1 } qw(_commission_exact _round_digits);
my (%made_in, %called);
@found = ();
my $calls = sub { my ($text, $self) = @_; while ($text =~ /\b(_\w+)/g) { $called{$1} = 1 if $1 ne $self; } };
for my $file (@sql, @c)
{
	my $text = $text{$file};
	if ($file =~ /\.sql$/)
	{
		$text =~ s{^\s*--.*$}{}gm;
		$text =~ s{(CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+prm\.(\w+)\s*\((?:[^\$;']|'[^']*')*?(?:AS\s+(\$\w*\$).*?\3[^;]*;|AS\s+'MODULE_PATHNAME'[^;]*;|BEGIN\s+ATOMIC.*?\nEND;|\bRETURN\b[^;]*;))}
		        {$made_in{$2} //= $file; $calls->($1, $2); ''}gsei;
		$text =~ s{\b(COMMENT|REVOKE|GRANT)\b[^;']*?\bON\s+(FUNCTION|PROCEDURE|AGGREGATE)\b(?:[^;']|'(?:[^']|'')*')*;}{}g;
		$text =~ s{\bALTER\s+(FUNCTION|PROCEDURE)\b[^;]*;}{}g;
		push @found, "$file: the lint cannot read how $1 is made" while $text =~ /\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+prm\.(\w+)/gi;
	}
	$calls->($text, '');
}
push @found, map { "$made_in{$_}: $_" } grep { /^_/ && !$called{$_} && !$probe{$_} } sort keys %made_in;
rule('every internal function is called by something', @found);

@found = ();
my $all_c = join "\n", map { bare_c($text{$_}) } grep { /\.c$/ } @c;
my $all_h = join "\n", map { bare_c($text{$_}) } grep { /\.h$/ } @c;
while ($all_h =~ /^extern\s[^;(]*?\b(prm_\w+)\s*[(;\[]/gm)
{
	my $name = $1;
	my $uses = () = "$all_c\n$all_h" =~ /\b$name\b/g;
	push @found, "$name is declared and made, and used nowhere" if $uses < 3;
}
for my $file (grep { /\.c$/ } @c)
{
	while ($text{$file} =~ /PG_FUNCTION_INFO_V1\((\w+)\)/g)
	{
		my ($name, $position) = ($1, $-[0]);
		push @found, "$file:" . line_of($text{$file}, $position) . " $name is called from no SQL" unless grep { $text{$_} =~ /'$name'|prm\.\Q$name\E\b/ } @sql;
	}
}
rule('every function in C is called by something', @found);

# --- tests that cannot fail ---
# Two assertions in one row are one line of TAP: the second may fail unseen. A statement that must fail says with which error.
@found = ();
for my $file (grep { m{^test/pgtap/.*\.(sql|psql)$} } @all)
{
	my $text = $text{$file};
	my $bare = $text;
	$bare =~ s{(--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\2)}{blank($1)}gse;
	while ($bare =~ /([^;\\]+)(?:;|\\)/g)
	{
		my ($statement, $position) = ($1, $-[1]);
		my ($depth, $count, $first) = (0, 0, 0);
		while ($statement =~ /([()])|\b(ok|is|isnt|cmp_ok|matches|imatches|doesnt_match|alike|throws_ok|throws_like|throws_matching|lives_ok|results_eq|results_ne|set_eq|bag_eq|set_has|is_empty|isnt_empty|row_eq|pass|fail)\s*(?=\()/g)
		{
			if (defined $1) { $depth += $1 eq '(' ? 1 : -1; next; }
			$first = $-[0] unless $count;
			$count++ if $depth == 0;
		}
		push @found, "$file:" . line_of($bare, $position + $first) . " $count assertions in one row" if $count > 1;
	}
	while ($bare =~ /\bthrows_ok\s*\(/g)
	{
		my $position = $-[0];
		my $call = call_at($bare, index($bare, '(', $position));
		my ($depth, $from, @arguments) = (0, 1);
		for my $i (0 .. length($call) - 1)
		{
			my $c = substr($call, $i, 1);
			$depth += $c =~ /[(\[]/ ? 1 : $c =~ /[)\]]/ ? -1 : 0;
			next unless $depth == 1 && $c eq ',' or $depth == 0 && $c eq ')';
			(my $argument = substr($text, $position + length('throws_ok') + $from, $i - $from)) =~ s/^\s+|\s+$//g;
			push @arguments, $argument;
			$from = $i + 1;
		}
		my $code = $arguments[1] // 'NULL';
		my $message = $arguments[2] // 'NULL';
		push @found, "$file:" . line_of($bare, $position) . ' throws_ok names no error'
		  unless $code =~ /^'\w{5}'$/ or @arguments > 2 && ($code ne 'NULL' || $message ne 'NULL');
	}
}
rule('one assertion a row, and every expected error is named', @found);

# --- order and tidiness ---
@found = ();
for my $file (grep { m{^(src|sql|test|debian|\.ci)/|^(Makefile|README|CHANGELOG)} && !m{^test/tools/lint\.pl$} } @all)
{
	my $n = 0;
	for my $line (split /\n/, $text{$file})
	{
		$n++;
		push @found, "$file:$n $1" if $line =~ /\b(TODO|FIXME|XXX|HACK)\b/ or $line =~ /\b(not (yet )?implemented|placeholder|stubs?|for now)\b/i;
	}
}
rule('no words that mark unfinished work', @found);

@found = ();
for my $file (grep { m{^(src/.*\.[ch]|sql/.*\.sql|test/.*\.(sql|psql|pl|pm|sh|bash|spec|c))$} } @all)
{
	my $lines = ($text{$file} =~ tr/\n//);
	push @found, "$file: $lines lines" if $lines > 600;
}
rule('no source file is longer than 600 lines', @found);

@found = ();
for my $file (grep { !m{^(expected|test/isolation/expected|test/fuzz/seeds)/} } @all)
{
	next if $text{$file} =~ /\0/;
	my $n = 0;
	for my $line (split /\n/, $text{$file}) { $n++; push @found, "$file:$n" if $line =~ /[ \t\r]$/; }
	push @found, "$file: no newline at the end" if length $text{$file} and $text{$file} !~ /\n\z/;
}
rule('no trailing whitespace, files end with a newline', @found);

@found = ();
for my $file (grep { /\.c$/ } @c)
{
	my ($name) = $file =~ m{([^/]+)$};
	push @found, $file unless $text{$file} =~ m{\A/\*\n \* \Q$name\E: };
}
rule('every C file says at its head what it owns', @found);

@found = ();
for my $file (grep { /\.c$/ } @c)
{
	my $bare = bare_c($text{$file});
	while ($bare =~ /\b(strcpy|strcat|strncpy|strncat|v?sprintf|gets|atof|strtok|alloca)\s*\(/g) { push @found, "$file:" . line_of($bare, $-[0]) . " $1"; }
}
rule('no unbounded string functions in C', @found);

# --- the version is stated once ---
@found = ();
my ($version) = ($text{'prm.control'} // '') =~ /^default_version *= *'([^']+)'/m;
my @stated = ($text{'META.json'} // '') =~ /"version": *"(\d[^"]*)"/g;
pop @stated if @stated and $stated[-1] eq '1.0.0' and $version ne '1.0.0';    # that of the META format
push @found, "META.json says $_" for grep { $_ ne $version } @stated;
push @found, "CHANGELOG.md has no heading for $version" unless ($text{'CHANGELOG.md'} // '') =~ /^## \Q$version\E\b/m;
push @found, "debian/changelog is of another version" if ($text{'debian/changelog'} // '') !~ /\A\S+ \(\Q$version\E-/;
rule('META.json, CHANGELOG.md and debian/changelog agree with prm.control', @found);

@found = ();
for my $file (grep { m{\.sh$|^\.ci/run$|^debian/rules$} } @all)
{
	next if $file eq 'debian/rules';
	my $message = `bash -n \Q$file\E 2>&1`;
	push @found, $message if $? != 0;
}
rule('shell scripts parse', @found);

exit($faults ? 1 : 0);
