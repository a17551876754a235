/* @NAME@: the words of each text, by a C function.
 *
 * Input: lines of JSON, {"id": 7, "text": "A stream of words"}. Output: lines of JSON in OUTPUT/words, {"id": 7, "word": "stream"}. */
#include <ctype.h>
#include <stdlib.h>
#include <weir/weir.h>

struct text {
    int64_t id;
    struct weir_str text;
};
WEIR_ROW(text, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(text, "STRING NOT NULL"));

struct word {
    int64_t id;
    struct weir_str word;
};
WEIR_ROW(word, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(word, "STRING NOT NULL"));

/* Emits the words of at least --shortest letters, in small letters. The row is valid for the call; what is emitted is copied. */
static int words(struct weir_ctx *ctx, const struct text *in, struct weir_out_rows *out)
{
    size_t shortest = (size_t)atoi(ctx->argument(ctx, "shortest", "4")), start = 0;
    char *small = ctx->scratch(ctx, in->text.size + 1);
    for (size_t i = 0; i <= in->text.size; i++) {
        bool letter = i < in->text.size && isalpha((unsigned char)in->text.data[i]);
        if (letter) {
            small[i] = (char)tolower((unsigned char)in->text.data[i]);
            continue;
        }
        struct word row = {.id = in->id, .word = {small + start, i - start}};
        int failed = i > start && row.word.size >= shortest ? weir_emit(out, &row) : 0;
        if (failed)
            return failed;
        start = i + 1;
    }
    return 0;
}

WEIR_JOB(TEMPLATE_IDENT)
{
    const char *output = weir_arg(job, "output", "out");
    weir_arg(job, "shortest", "4");

    struct weir_stream *texts =
        weir_source(job, "filesystem", "path", weir_arg(job, "input", "input.jsonl"), "format", "json", "on-error",
                    "dead-letter", "dead-letter.path", weir_text(job, "%s/bad", output), NULL);
    texts = weir_name(weir_schema(texts, WEIR_ROW_OF(text)), "texts");

    struct weir_stream *all = weir_flat_map(texts, WEIR_FLAT_MAP(text, word, words), .name = "words");
    weir_sink(all, "filesystem", "path", weir_text(job, "%s/words", output), "format", "json", NULL);
}
