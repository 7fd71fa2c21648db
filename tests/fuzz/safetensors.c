/* A safetensors file: an error, or each of its tensors is within the file and can be read. */
#include <string.h>

#include "fuzz/file.h"
#include "saediff/core/mem.h"
#include "saediff/store/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sd_status read_tensor(sd_safetensors *file, const sd_tensor *t, size_t size)
{
    uint64_t count = 1;
    void *values = NULL;
    sd_status st;

    for (int d = 0; d < t->dims; d++)
        count *= t->shape[d];
    if (t->offset > size || t->bytes > size - t->offset || count * sd_dtype_size(t->type) != t->bytes)
        abort();
    SD_TRY(st, sd_alloc_bytes(&values, t->bytes + 1, 1));
    SD_TRY(st, sd_safetensors_read(file, t, t->type, values));
out:
    sd_free(values);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    sd_safetensors *file = NULL;
    sd_status st = sd_safetensors_open(&file, path);

    for (uint64_t i = 0; st == SD_OK && i < sd_safetensors_count(file); i++) {
        const sd_tensor *t = sd_safetensors_at(file, i);

        if (sd_safetensors_find(file, t->name) != t)
            abort();
        st = read_tensor(file, t, size);
    }
    fuzz_expect_data(st);
    sd_safetensors_close(&file);
    remove(path);
    return 0;
}
