/* A fuzz target as an ordinary test: every case of a folder, complete and truncated. A defect is a crash, an abort or a sanitizer report. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST = 1 << 20, CUTS = 200 };

static size_t read_case(const char *folder, const char *name, uint8_t *data)
{
    char path[4096];
    size_t size;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    size = fread(data, 1, LARGEST, f);
    fclose(f);
    return size;
}

int main(int argc, char **argv)
{
    uint8_t *data = malloc(LARGEST);
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    const struct dirent *entry;
    unsigned cases = 0;

    if (data == NULL || folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 1;
    }
    while ((entry = readdir(folder)) != NULL) {
        size_t size, step;

        if (entry->d_name[0] == '.')
            continue;
        size = read_case(argv[1], entry->d_name, data);
        step = size / CUTS + 1;
        for (size_t cut = 0; cut < size; cut += step)
            LLVMFuzzerTestOneInput(data, cut);
        LLVMFuzzerTestOneInput(data, size);
        cases++;
    }
    closedir(folder);
    free(data);
    printf("%u cases\n", cases);
    return cases == 0;
}
