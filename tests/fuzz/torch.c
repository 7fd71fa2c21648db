/* A checkpoint of PyTorch: bytes that begin as a zip archive are the file, others are the pickle in an archive with one storage of 64 bytes
 * (a checksum protects the contents of an archive, and random bytes would not pass it). An error, or all tensors can be read. */
#include <string.h>
#include <zip.h>

#include "fuzz/file.h"
#include "saediff/core/mem.h"
#include "saediff/store/torch.h"

enum { BYTES_MOST = 1 << 22 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(zip_t *zip, const char *name, const void *data, size_t size)
{
    zip_source_t *source = zip_source_buffer(zip, data, size, 0);
    zip_int64_t at = source != NULL ? zip_file_add(zip, name, source, 0) : -1;

    if (at < 0 || zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0) != 0)
        abort();
}

/* Replaces the file. */
static void pack(const char *path, const uint8_t *pickle, size_t size)
{
    static const uint8_t storage[64] = {1, 2, 3, 4, 5, 6, 7, 8};
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);

    if (zip == NULL)
        abort();
    add(zip, "archive/data.pkl", pickle, size);
    add(zip, "archive/data/0", storage, sizeof storage);
    if (zip_close(zip) != 0)
        abort();
}

/* An expanded tensor may be far larger than its storage and is not read here. */
static sd_status read_tensor(sd_torch *file, const sd_tensor *t)
{
    uint64_t count = 1;
    void *values = NULL;
    sd_status st = SD_OK;

    for (int d = 0; d < t->dims; d++)
        count *= t->shape[d];
    if (count * sd_dtype_size(t->type) != t->bytes)
        abort();
    if (t->bytes > BYTES_MOST)
        return SD_OK;
    SD_TRY(st, sd_alloc_bytes(&values, t->bytes + 1, 1));
    st = sd_torch_read(file, t, t->type, values);
out:
    sd_free(values);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    sd_torch *file = NULL;
    sd_status st;

    if (size < 2 || memcmp(data, "PK", 2) != 0)
        pack(path, data, size);
    st = sd_torch_open(&file, path);
    for (uint64_t i = 0; st == SD_OK && i < sd_torch_count(file); i++)
        st = read_tensor(file, sd_torch_at(file, i));
    fuzz_expect_data(st);
    sd_torch_close(&file);
    remove(path);
    return 0;
}
