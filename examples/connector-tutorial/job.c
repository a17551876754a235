/* A job on connectors of its own: which numbers up to --to are prime. */
#include <weir/connector.h>
#include <weir/weir.h>

extern const struct weir_connector divisors_connector, report_connector;
WEIR_CONNECTORS(&divisors_connector, &report_connector);

WEIR_JOB(primes)
{
    struct weir_stream *numbers = weir_source(job, "divisors", "to", weir_arg(job, "to", "100"), "split.numbers",
                                              weir_arg(job, "split", "25"), "format", "json", NULL);
    numbers = weir_columns(numbers, "number BIGINT NOT NULL, divisor BIGINT NOT NULL");

    struct weir_stream *primes = weir_select(weir_filter(numbers, "divisor = number"), "number AS prime");
    weir_sink(primes, "report", "path", weir_arg(job, "output", "primes"), "format", "csv", NULL);
}
