"""Model bundles on this box: installed into slots, one of them active, one on trial."""
