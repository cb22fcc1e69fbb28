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
for my $file (grep { m{^(src/.*\.[ch]|sql/(code|model)/.*\.sql)$} } @all)
{
	my $lines = ($text{$file} =~ tr/\n//);
	push @found, "$file: $lines lines" if $lines > 640;
}
rule('no source file is longer than 640 lines', @found);

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
	while ($bare =~ /\b(strcpy|strcat|sprintf|gets|atof)\s*\(/g) { push @found, "$file:" . line_of($bare, $-[0]) . " $1"; }
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
