#include "run_private.h"
#include "saediff/core/mem.h"

sd_status run_batches(const sd_tokens *tokens, uint64_t most, run_batch **batches, uint64_t *count)
{
    uint64_t n = 0;
    sd_status st = SD_NEW(batches, tokens->docs);

    if (st != SD_OK)
        return st;
    for (uint64_t d = 0; d < tokens->docs; d++) {
        uint64_t rows = tokens->doc_start[d + 1] - tokens->doc_start[d];
        run_batch *last = n ? *batches + n - 1 : NULL;

        if (last != NULL && last->rows + rows <= most) {
            last->docs++;
            last->rows += rows;
        } else {
            (*batches)[n++] = (run_batch){d, 1, tokens->doc_start[d], rows};
        }
    }
    *count = n;
    return SD_OK;
}
