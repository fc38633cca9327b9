"""From any picture of a person to everything the later stages need to know about it.

    load_image     file ─► upright sRGB pixels                    (loading)
    detect_face    pixels ─► 478 landmarks, yaw                   (detection, mediapipe_models)
    source_to_crop landmarks ─► similarity to the aligned crop    (alignment)
    segment        crop ─► hair, skin, garment, background        (segmentation, head_layout, colour_model)
    refine_matte   background ─► soft matte, unmixed colours      (matting)
    glasses_probability                                           (eyewear)
    face_regions   landmarks ─► eyes, lips, irises as polygons and masks

`portrait.load_portraits` runs them in this order and returns one `Portrait` per picture.
"""
