/* Would catch: a variable that is taken for changed because a constructor set it, a change that isn't seen (in the middle
 * of a large array, across two pages), reads outside of the library. */
#include "image.h"

#include <string.h>

#include "check.h"

int
main(int count, char **arguments)
{
    CHECK(count == 2);
    size_t size;
    unsigned char *bytes = read_file(arguments[1], "variables.so", &size);
    mf_failure failure;
    mf_exception_text thrown;
    mf_image_options options = {.name = "variables"};
    mf_image *image = mf_image_open(&options, bytes, size, &failure, &thrown);
    free(bytes);
    CHECK(image != NULL);
    mf_image_facts facts;
    mf_image_get_facts(image, &facts);
    int *(*where)(int) = (int *(*)(int))mf_image_symbol(image, "where");
    for (int which = 0; which < 4; which++) {
        size_t length = which == 2 ? 1 << 20 : sizeof(int);
        uint64_t address = (uintptr_t)where(which) - facts.base;
        CHECK(!mf_image_changed(image, address, length));
        char *last = (char *)where(which) + length - 1;
        *last += 1;
        CHECK(mf_image_changed(image, address, length));
        CHECK(!mf_image_changed(image, address, length - 1));
        *last -= 1;
        CHECK(!mf_image_changed(image, address, length));
    }
    char *large = (char *)where(2);
    uint64_t page = ((uintptr_t)large + 8191) / 4096 * 4096;
    memset((char *)page - 4, 1, 8); /* four bytes in each of two pages */
    CHECK(mf_image_changed(image, page - 8 - facts.base, 16));
    CHECK(mf_image_changed(image, page + 3 - facts.base, 1));
    CHECK(!mf_image_changed(image, page + 4 - facts.base, 100000));
    CHECK(!mf_image_changed(image, 0, 16));          /* code */
    CHECK(!mf_image_changed(image, UINT64_MAX, 16)); /* nowhere */
    CHECK(mf_image_close(image));
    mf_image_free(image);
    return 0;
}
