/* model.safetensors.index.json over two good shards: an error, or every tensor that it names is in one of them. */
#include <string.h>

#include "fuzz/file.h"
#include "saediff/core/log.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], index_file[128], shard[2][128];

static void clean(void)
{
    remove(index_file);
    remove(shard[0]);
    remove(shard[1]);
    rmdir(folder);
}

static void prepare(void)
{
    static const float values[4] = {1, 2, 3, 4};
    const void *const data[2] = {values, values};
    const sd_tensor tensors[2][2] = {{{.name = "a", .type = SD_F32, .dims = 1, .shape = {4}}, {.name = "b", .type = SD_F32, .dims = 2, .shape = {2, 2}}},
                                     {{.name = "c", .type = SD_F32, .dims = 1, .shape = {3}}}};

    strcpy(folder, "/tmp/saediff-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(index_file, sizeof index_file, "%s/model.safetensors.index.json", folder);
    for (uint64_t i = 0; i < 2; i++) {
        snprintf(shard[i], sizeof shard[i], "%s/s%d", folder, (int)i);
        if (sd_safetensors_write(shard[i], tensors[i], data, 2 - i, NULL) != SD_OK)
            abort();
    }
    atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sd_weights *w = NULL;
    float values[4];
    sd_status st;
    FILE *f;

    if (folder[0] == '\0')
        prepare();
    f = fopen(index_file, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    st = sd_weights_open(&w, folder);
    for (uint64_t i = 0; st == SD_OK && i < sd_weights_count(w); i++) {
        const sd_tensor *t = sd_weights_at(w, i);

        if (sd_weights_find(w, t->name) != t || sd_weights_file(w, t) == NULL)
            abort();
        st = sd_weights_read(w, t, SD_F32, values);
    }
    fuzz_expect_data(st);
    sd_weights_close(&w);
    return 0;
}
