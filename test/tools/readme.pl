#!/usr/bin/perl
# Keeps the README true: the table of the API comes from the catalog, the tour from the expected output of sql/tour.sql.
#   readme.pl check  README.md api.txt expected/tour.out     exit 1 and the difference where they disagree
#   readme.pl update README.md api.txt expected/tour.out     writes them into the README
# api.txt is the output of test/tools/api_table.sql on a database with the model.
#   readme.pl sql README.md FROM TO       prints the SQL of the sections from FROM on, before TO, to be run as it stands
use strict;
use warnings;

my ($mode, $readme, $api, $tour) = @ARGV;
die "usage: readme.pl check|update README.md api.txt tour.out, or sql README.md FROM TO\n" unless defined $tour && $mode =~ /^(check|update|sql)$/;

if ($mode eq 'sql') {
	my ($from, $to) = ($api, $tour);
	my ($wanted, $sql, $printed) = (0, 0, 0);
	open my $handle, '<', $readme or die "$readme: $!\n";
	while (<$handle>) {
		$wanted = $1 eq $from || ($wanted && $1 ne $to) if /^## (.*)$/;
		if (/^```/) { $sql = /^```sql$/; next; }
		if ($wanted && $sql) { print; $printed++; }
	}
	die "$readme has no SQL from \"$from\" on\n" unless $printed;
	exit 0;
}

sub slurp { my ($file) = @_; local $/; open my $handle, '<', $file or die "$file: $!\n"; return scalar <$handle>; }

# The part of the tour's output between its two marks; what stands before them only prepares the database.
my ($shown) = slurp($tour) =~ /^-- The tour begins\n(.*?)^-- The tour ends$/ms or die "$tour has no marks of the tour\n";
$shown =~ s/[ \t]+$//mg;
# Each station of the tour begins after an empty line.
$shown =~ s/([^\n]\n)(-- \d+\. )/$1\n$2/g;
my $table = slurp($api);
$table =~ s/\s+\z/\n/;

my $text = slurp($readme);
my $new = $text;
$new =~ s/(<!-- tour -->\n).*?(<!-- \/tour -->)/$1\n```sql\n$shown```\n\n$2/s or die "$readme has no marks of the tour\n";
$new =~ s/(<!-- api -->\n).*?(<!-- \/api -->)/$1\n$table\n$2/s or die "$readme has no marks of the table\n";
exit 0 if $new eq $text;

if ($mode eq 'update') {
	open my $handle, '>', $readme or die "$readme: $!\n";
	print {$handle} $new;
	close $handle or die "$readme: $!\n";
	exit 0;
}
my @old = split /\n/, $text;
my %old = map { $_ => 1 } @old;
my %new = map { $_ => 1 } split /\n/, $new;
print "$readme does not say what the catalog and the tour say; readme.pl update writes it:\n";
print "- $_\n" for grep { !$new{$_} } @old;
print "+ $_\n" for grep { !$old{$_} } split /\n/, $new;
exit 1;
